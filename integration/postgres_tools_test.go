package integration_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
)

// What a dump must carry: types, quotes, bytes, a large object, comments.
const dumpSchema = `
CREATE SCHEMA "Schäma ☃";
CREATE TYPE "Schäma ☃".mood AS ENUM ('sad', 'it''s ok', '☃');
CREATE TABLE "Schäma ☃".things (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mood "Schäma ☃".mood,
	bytes bytea, tags text[], doc jsonb, at timestamptz DEFAULT '2024-02-29 12:00+00', amount numeric(20, 5), void text);
INSERT INTO "Schäma ☃".things (mood, bytes, tags, doc, amount)
	SELECT '☃', sha256(i::text::bytea), ARRAY[E'tab\t', E'back\\slash', E'new\nline', NULL], jsonb_build_object('ключ', i), i / 7.0
	FROM generate_series(1, 20000) i;
CREATE VIEW "Schäma ☃".v AS SELECT id, doc ->> 'ключ' AS k FROM "Schäma ☃".things;
CREATE FUNCTION "Schäma ☃".f(int) RETURNS int LANGUAGE sql AS $$ SELECT $1 + 1 $$;
COMMENT ON TABLE "Schäma ☃".things IS 'a "comment", it''s ☃';
SELECT lo_from_bytea(424242, decode(repeat('00ff', 100000), 'hex'));
`

// Dumps through credproxy are those of the database, whichever way they are
// restored.
func TestPostgresDump(t *testing.T) {
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		for _, name := range []string{"source", "by_psql", "by_restore"} {
			psql(t, s.Version, s.conninfo(), "CREATE DATABASE "+name)
		}
		psql(t, s.Version, s.conninfo("dbname=source"), dumpSchema)
		dump := func(conninfo string, more ...string) string {
			return output(t, program(t, s.Version, "pg_dump", append(more, "--no-password", "-d", conninfo)...))
		}
		const key = "--restrict-key=key" // else it is random
		want := dump(s.direct("dbname=source"), key)
		if got := dump(s.conninfo("dbname=source"), key); got != want || len(got) < megabyte {
			t.Errorf("the dump through credproxy has %d bytes, the direct one %d", len(got), len(want))
		}
		psql(t, s.Version, s.conninfo("dbname=by_psql"), "\\set ON_ERROR_STOP 1\n"+want)
		folder := filepath.Join(t.TempDir(), "dump")
		dump(s.conninfo("dbname=source"), "--format=directory", "--jobs=2", "--file="+folder)
		output(t, program(t, s.Version, "pg_restore", "--no-password", "--exit-on-error", "--jobs=2", "-d", s.conninfo("dbname=by_restore"), folder))
		for _, name := range []string{"by_psql", "by_restore"} {
			if got := dump(s.direct("dbname="+name), key); got != want {
				t.Errorf("what was restored %s has a dump of %d bytes, not %d", name, len(got), len(want))
			}
		}
	})
}

func TestPostgresPgbench(t *testing.T) {
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		bench := func(more ...string) string {
			return output(t, program(t, s.Version, "pgbench", append(more, s.conninfo())...))
		}
		bench("-i", "-q")
		for _, more := range [][]string{{"-M", "simple"}, {"-M", "extended"}, {"-M", "prepared"}, {"-M", "prepared", "-S"}, {"-M", "simple", "-C"}} {
			out := bench(append(more, "-c", "4", "-j", "2", "-t", "50", "-n")...)
			if !strings.Contains(out, "actually processed: 200/200") || !strings.Contains(out, "failed transactions: 0 ") {
				t.Errorf("%v:\n%s", more, out)
			}
		}
	})
}

// A base backup with the WAL streamed beside it is whole, as pg_verifybackup
// finds.
func TestPostgresBaseBackup(t *testing.T) {
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		folder := filepath.Join(t.TempDir(), "backup")
		output(t, program(t, s.Version, "pg_basebackup", "-w", "-d", s.conninfo(), "-D", folder, "-X", "stream", "--checkpoint=fast", "--no-sync"))
		output(t, program(t, s.Version, "pg_verifybackup", folder))
	})
}

// WAL received by pg_receivewal is the server's own, and pg_recvlogical decodes
// what was written.
func TestPostgresReplication(t *testing.T) {
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		conn := pgConnect(t, s.conninfo("sslmode=disable"))
		folder := t.TempDir()
		receive := func(more ...string) string {
			return output(t, program(t, s.Version, "pg_receivewal", append(more, "-w", "-d", s.conninfo(), "--slot=wal", "--no-loop", "--no-sync", "-D", folder)...))
		}
		decode := func(more ...string) string {
			return output(t, program(t, s.Version, "pg_recvlogical", append(more, "-w", "-d", s.conninfo(), "--slot=logical", "--no-loop", "-f", "-")...))
		}
		ask(t, conn, "SELECT pg_create_physical_replication_slot('wal', true)::text") // keeps the WAL from here on
		decode("--create-slot", "--plugin=test_decoding")
		first := ask(t, conn, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
		if _, err := conn.Exec(t.Context(), "CREATE TABLE written AS SELECT i, 'ščřž ☃' AS text FROM generate_series(1, 20000) i"); err != nil {
			t.Fatal(err)
		}
		end := ask(t, conn, "SELECT pg_current_wal_insert_lsn()::text")
		// What comes after the end tells both programs that it is reached.
		if _, err := conn.Exec(t.Context(), "INSERT INTO written VALUES (0, 'after the end')"); err != nil {
			t.Fatal(err)
		}
		s.exec(t, "SELECT pg_switch_wal()")
		receive("--endpos=" + end)
		got, err := os.ReadFile(filepath.Join(folder, first))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(s.SocketDir, "data/pg_wal", first))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("segment %s is not the server's", first)
		}
		changes := decode("--start", "--endpos="+end)
		if n := strings.Count(changes, "INSERT: i[integer]:"); n != 20000 || !strings.Contains(changes, "text[text]:'ščřž ☃'") {
			t.Errorf("%d rows were decoded", n)
		}
	})
}
