package integration_test

import (
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
)

const pgJDBC = "/usr/share/java/postgresql.jar"

var postgresDrivers = []clientProgram{
	{"node pg", []string{"node", "pg.js"}, map[string]any{"pooled": 190.0}},
	{"psycopg2", []string{"/usr/bin/python3", "psycopg2_client.py"}, nil},
	{"Perl DBD::Pg", []string{"perl", "dbd_pg.pl"}, nil},
	{"pgjdbc", []string{"java", "-XX:TieredStopAtLevel=1", "-cp", pgJDBC, "PgJDBC.java"}, map[string]any{"valid": true}},
}

// TestPostgresDrivers runs a program in each language's usual driver, with its own
// default for TLS, and some with a password that is left over.
func TestPostgresDrivers(t *testing.T) {
	s := newPGServer(t, servers.PostgresOptions{Version: 18})
	s.run(t, secretJSON(s.Postgres, "app", appPassword))
	for _, d := range postgresDrivers {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			d.run(t, s.addr, map[string]any{"sum": 42.0, "text": anyText, "rows": []any{anyText}, "user": "app", "error": "42P01"})
		})
	}
}
