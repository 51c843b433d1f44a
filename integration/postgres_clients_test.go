package integration_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/lib/pq"

	"github.com/credproxy/credproxy/integration/servers"
)

// The same script through credproxy and directly: psql says the same.
func TestPostgresPsql(t *testing.T) {
	const script = `
SELECT current_user, session_user, current_database();
SHOW geqo; SHOW application_name; SHOW client_encoding;
PREPARE add(int, int) AS SELECT $1 + $2;
EXECUTE add(40, 2);
BEGIN;
CREATE TEMP TABLE things (id int);
INSERT INTO things VALUES (1), (2);
SELECT 1/0;
SELECT 'not reached';
ROLLBACK;
SELECT to_regclass('things') IS NULL;
SELECT relname FROM nowhere;
DO $$ BEGIN RAISE NOTICE 'a notice'; END $$;
\c - - - -
SELECT 'after reconnecting', current_user;
\c "Ätna ☃"
SELECT current_database(), current_user;
`
	const newer = `
SELECT $1::int * 2 \bind 21 \g
SELECT $1::text \parse stmt
\bind_named stmt 'named' \g
\startpipeline
SELECT 1 \bind \g
SELECT 1/0 \bind \g
SELECT 2 \bind \g
\endpipeline
SELECT 'after the pipeline';
`
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		s.exec(t, `CREATE DATABASE "Ätna ☃"`)
		for _, client := range servers.PostgresVersions() {
			t.Run(fmt.Sprintf("psql%d", client), func(t *testing.T) {
				t.Parallel()
				all := script
				if client >= 18 {
					all += newer
				}
				options := `options='-c geqo=off' application_name='zażółć ☃' client_encoding=LATIN1`
				got, want := psql(t, client, s.conninfo(options), all), psql(t, client, s.direct(options), all)
				if got != want {
					t.Errorf("through credproxy:\n%s\ndirectly:\n%s", got, want)
				}
				for _, line := range []string{"app|app|postgres", "off", "LATIN1", "42", "ERROR:  22012", "ERROR:  42P01", "after reconnecting|app"} {
					if !slices.Contains(strings.Split(got, "\n"), line) {
						t.Errorf("no line %q in:\n%s", line, got)
					}
				}
			})
		}
	})
}

func TestPostgresPgx(t *testing.T) {
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		const name = `Ünï "quoted" 'ñame' ☃`
		s.exec(t, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
		modes := map[string]pgx.QueryExecMode{"simple": pgx.QueryExecModeSimpleProtocol, "exec": pgx.QueryExecModeExec,
			"describe": pgx.QueryExecModeCacheDescribe, "prepared": pgx.QueryExecModeCacheStatement}
		for mode, value := range modes {
			t.Run(mode, func(t *testing.T) {
				cfg, err := pgx.ParseConfig(s.conninfo("sslmode=disable"))
				if err != nil {
					t.Fatal(err)
				}
				cfg.DefaultQueryExecMode, cfg.User, cfg.Database = value, "пользователь ☃", name
				cfg.RuntimeParams["application_name"], cfg.RuntimeParams["options"] = "приложение", "-c geqo=off"
				conn, err := pgx.ConnectConfig(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(context.Background())
				if got := ask(t, conn, "SELECT current_database() || current_user || current_setting('geqo')"); got != name+"appoff" {
					t.Errorf("got %s", got)
				}
				if got := ask(t, conn, "SELECT $1::text", "☃"); got != "☃" {
					t.Errorf("parameter: %s", got)
				}
				if got, want := ask(t, conn, "SELECT pg_backend_pid()"), fmt.Sprint(conn.PgConn().PID()); got != want {
					t.Errorf("pg_backend_pid() is %s, the client was told %s", got, want)
				}
				failInTransaction(t, conn)
				sendBatch(t, conn)
			})
		}
	})
}

// failInTransaction makes a statement fail in a transaction, goes back to a
// savepoint, and commits.
func failInTransaction(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	ctx := t.Context()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "CREATE TEMP TABLE kept (id int) ON COMMIT PRESERVE ROWS"); err != nil {
		t.Fatal(err)
	}
	inner, err := tx.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = inner.Exec(ctx, "SELECT 1/0")
	if !hasCode(err, "22012") {
		t.Errorf("division by zero: %v", err)
	}
	if status := conn.PgConn().TxStatus(); status != 'E' {
		t.Errorf("transaction status %c", status)
	}
	if err := errors.Join(inner.Rollback(ctx), tx.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, conn, "SELECT count(*) FROM kept"); got != "0" {
		t.Errorf("count %s", got)
	}
}

func sendBatch(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	batch := &pgx.Batch{}
	sum := 0
	for i := range 100 {
		batch.Queue("SELECT $1::int", i).QueryRow(func(row pgx.Row) error {
			var n int
			err := row.Scan(&n)
			sum += n
			return err
		})
	}
	if err := conn.SendBatch(t.Context(), batch).Close(); err != nil || sum != 4950 {
		t.Errorf("batch: sum %d, %v", sum, err)
	}
}

func TestPostgresLibPQ(t *testing.T) {
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		db, err := sql.Open("postgres", s.conninfo("sslmode=disable", "options='-c geqo=off'"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var user, geqo string
		if err := db.QueryRow("SELECT current_user, current_setting('geqo')").Scan(&user, &geqo); err != nil {
			t.Fatal(err)
		}
		if user != "app" || geqo != "off" {
			t.Errorf("user %s, geqo %s", user, geqo)
		}
		stmt, err := db.Prepare("SELECT $1::int + 1")
		if err != nil {
			t.Fatal(err)
		}
		defer stmt.Close()
		for i := range 10 {
			var n int
			if err := stmt.QueryRow(i).Scan(&n); err != nil || n != i+1 {
				t.Errorf("got %d, %v", n, err)
			}
		}
		libPQTransaction(t, db)
	})
}

func libPQTransaction(t *testing.T, db *sql.DB) {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.Exec("SELECT * FROM nowhere")
	if pqErr, ok := errors.AsType[*pq.Error](err); !ok || pqErr.Code != "42P01" {
		t.Errorf("unknown table: %v", err)
	}
	_, err = tx.Exec("SELECT 1")
	if pqErr, ok := errors.AsType[*pq.Error](err); !ok || pqErr.Code != "25P02" {
		t.Errorf("after an error: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	var one int
	if err := db.QueryRow("SELECT 1").Scan(&one); err != nil {
		t.Error(err)
	}
}
