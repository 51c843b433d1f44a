package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestPostgresReplicationAccess asks for a base backup, of all databases, through listeners
// that lead to one.
func TestPostgresReplicationAccess(t *testing.T) {
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18})
	if err := pg.CreateRole(t.Context(), "app", appPassword, "REPLICATION"); err != nil {
		t.Fatal(err)
	}
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	tls := "tls: " + tlsYAML("", pg.CAFile)
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("open", arn, tls) +
		smDatabase("one", arn, tls, "access: {databases: [postgres]}") +
		smDatabase("replica", arn, tls, "access: {databases: [postgres], replication: true}")}, appPassword)
	for _, tt := range []struct {
		name, database, replication string
		ok                          bool
	}{
		{"open", "postgres", "database", true},
		{"open", "postgres", "true", true},
		{"one", "postgres", "database", false},
		{"one", "postgres", "yes", false},
		{"replica", "postgres", "database", true},
		{"replica", "postgres", "on", true},
		{"replica", "template1", "database", false},
	} {
		t.Run(fmt.Sprintf("%s %s %s", tt.name, tt.database, tt.replication), func(t *testing.T) {
			host, port, _ := strings.Cut(w.Addr(t, tt.name), ":")
			conn, err := pgconn.Connect(t.Context(), fmt.Sprintf("host=%s port=%s user=anybody dbname=%s replication=%s sslmode=disable", host, port, tt.database, tt.replication))
			if !tt.ok {
				if !hasCode(err, "28000") || !strings.Contains(err.Error(), "credproxy: ") {
					t.Errorf("connected: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			if _, err := conn.Exec(t.Context(), "IDENTIFY_SYSTEM").ReadAll(); err != nil {
				t.Error(err)
			}
		})
	}
	if err := w.logIn(t.Context(), w.Addr(t, "one"), "postgres"); err != nil {
		t.Errorf("a session without replication: %v", err)
	}
}

// TestPostgresUserAsDatabase has psql name a user and no database: libpq then sends the
// user's name, and the default is meant.
func TestPostgresUserAsDatabase(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 18})
	for _, name := range []string{"orders", "somebody"} {
		if err := pg.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
			t.Fatal(err)
		}
	}
	aws := startAWS(t, awsstub.Options{})
	tls := "tls: " + tlsYAML("", pg.CAFile)
	const dbname = `"dbname":"postgres",`
	secret := secretJSON(pg, "app", appPassword)
	arn := aws.CreateSecret("prod/named", strings.Replace(secret, dbname, `"dbname":"orders",`, 1))
	plain := aws.CreateSecret("prod/plain", strings.Replace(secret, dbname, "", 1))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("secret", arn, tls) +
		smDatabase("config", plain, tls, "database: orders") + smDatabase("none", plain, tls) +
		smDatabase("limited", arn, tls, "access: {databases: [orders, anybody]}")}, appPassword)
	const missing = `database "anybody" does not exist`
	for _, tt := range []struct{ name, conninfo, want string }{
		{"secret", "user=anybody", "orders|app"},
		{"config", "user=anybody", "orders|app"},
		{"secret", "user=somebody", "somebody|app"}, // there is one of that name
		{"none", "user=anybody", missing},
		{"limited", "user=anybody", missing},
		{"secret", "user=other dbname=anybody", missing},
	} {
		host, port, _ := strings.Cut(w.Addr(t, tt.name), ":")
		for _, version := range servers.PostgresVersions() {
			cmd := program(t, version, "psql", "-XAtqw", "-d", fmt.Sprintf("host=%s port=%s %s", host, port, tt.conninfo), "-c", "SELECT current_database(), current_user")
			if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), tt.want) {
				t.Errorf("%s, psql %d %s: %s", tt.name, version, tt.conninfo, out)
			}
		}
	}
}
