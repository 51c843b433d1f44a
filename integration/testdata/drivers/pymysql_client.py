"""PyMySQL: python3 pymysql_client.py HOST PORT."""
import json
import sys

import pymysql

TEXT = "naïve 日本 😀"
host, port = sys.argv[1:]
c = pymysql.connect(host=host, port=int(port), user="anybody", database="app", charset="utf8mb4")
with c.cursor() as cur:
    cur.execute("SELECT %s + %s, %s", (40, 2, TEXT))
    total, text = cur.fetchone()
    cur.execute("CREATE TABLE pymysql (t VARCHAR(50) CHARACTER SET utf8mb4)")
    c.begin()
    cur.execute("INSERT INTO pymysql VALUES (%s)", ("rolled back",))
    c.rollback()
    c.begin()
    cur.execute("INSERT INTO pymysql VALUES (%s)", (TEXT,))
    c.commit()
    cur.execute("SELECT t FROM pymysql")
    rows = [t for t, in cur.fetchall()]
    # PyMySQL puts parameters into the text; this is prepared by the server.
    cur.execute("PREPARE p FROM 'SELECT CONCAT(?, CURRENT_USER())'")
    cur.execute("SET @a = ''")
    cur.execute("EXECUTE p USING @a")
    user, = cur.fetchone()
    try:
        cur.execute("SELECT * FROM nowhere")
    except pymysql.err.ProgrammingError as e:
        error = str(e.args[0])
c.ping()
c.close()
print(json.dumps({"sum": int(total), "text": text, "rows": rows, "user": user, "error": error}))
