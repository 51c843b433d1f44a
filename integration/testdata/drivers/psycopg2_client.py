"""psycopg2: python3 psycopg2_client.py HOST PORT."""
import json
import sys

import psycopg2

TEXT = "naïve 日本 😀"
host, port = sys.argv[1:]
c = psycopg2.connect(host=host, port=port, user="anybody", password="left over", dbname="postgres")
with c.cursor() as cur:
    # psycopg2 puts parameters into the text; this is prepared by the server.
    cur.execute("PREPARE p (int, int, text) AS SELECT $1 + $2, $3")
    cur.execute("EXECUTE p (%s, %s, %s)", (40, 2, TEXT))
    total, text = cur.fetchone()
    cur.execute("CREATE TEMP TABLE psycopg2 (t text)")
    c.commit()
    cur.execute("INSERT INTO psycopg2 VALUES (%s)", ("rolled back",))
    c.rollback()
    cur.execute("INSERT INTO psycopg2 VALUES (%s)", (TEXT,))
    c.commit()
    cur.execute("SELECT t FROM psycopg2")
    rows = [t for t, in cur.fetchall()]
    cur.execute("SELECT current_user")
    user, = cur.fetchone()
    try:
        cur.execute("SELECT * FROM nowhere")
    except psycopg2.Error as e:
        error = e.pgcode
c.close()
print(json.dumps({"sum": total, "text": text, "rows": rows, "user": user, "error": error}))
