package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// appPassword is planted: no test may find it in a log.
const appPassword = "planted-Kq7vT2mZ"

// startAWS starts the stand-in for AWS.
func startAWS(t testing.TB, o awsstub.Options) *awsstub.Server {
	t.Helper()
	aws, err := awsstub.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(aws.Close)
	return aws
}

// secretJSON is a secret as RDS writes it, for user app on pg.
func secretJSON(pg *servers.Postgres, user, password string) string {
	b, _ := json.Marshal(map[string]any{ // of such values it cannot fail
		"engine": "postgres", "host": "localhost", "port": pg.Port, "username": user, "password": password, "dbname": "postgres",
	})
	return string(b)
}

// oneDatabase is a configuration with a database "main" whose credential is the
// secret arn, listening on a free port, and more YAML lines of that database.
func oneDatabase(pg *servers.Postgres, arn string, more ...string) string {
	yaml := fmt.Sprintf(`databases:
  - name: main
    engine: postgres
    listen: 127.0.0.1:0
    credentials: {secrets_manager: {secret_id: %q}}
`, arn)
	if pg.CAFile != "" {
		yaml += fmt.Sprintf("    tls: {ca_file: %q}\n", pg.CAFile)
	}
	for _, line := range withPool(more) {
		yaml += "    " + line + "\n"
	}
	return yaml
}

// connect logs in through credproxy with pgx, without a password.
func connect(t testing.TB, addr, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://anybody@%s/%s?sslmode=disable", addr, database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestLogin(t *testing.T) {
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			pg := servers.RunPostgres(t, servers.PostgresOptions{Version: version})
			if err := pg.CreateRole(t.Context(), "app", appPassword); err != nil {
				t.Fatal(err)
			}
			aws := startAWS(t, awsstub.Options{})
			arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
			p := sidecar.Run(t, sidecar.Options{Binary: binary, Config: oneDatabase(pg, arn), Env: aws.Env(), Debug: true}, appPassword)
			conn := connect(t, p.Addr(t, "main"), "postgres")
			var user string
			var tls bool
			if err := conn.QueryRow(t.Context(), "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&user, &tls); err != nil {
				t.Fatal(err)
			}
			if user != "app" || !tls {
				t.Errorf("user %s, tls %v", user, tls)
			}
		})
	}
}
