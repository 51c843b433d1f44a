package integration_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestPreviousLeadsNowhereElse moves the secret to a new server with a password that is
// wrong there. The version before is good on the old server, where no client may get to:
// what it writes there would be lost. The same with a version before that names no host.
// Clients hear the refusal.
func TestPreviousLeadsNowhereElse(t *testing.T) {
	before, now := newPostgres(t, servers.PostgresOptions{Version: 15}), servers.RunPostgres(t, servers.PostgresOptions{Version: 18})
	if err := now.CreateRole(t.Context(), "app", "another password"); err != nil {
		t.Fatal(err)
	}
	for name, previous := range map[string]string{
		"another_host": secretJSON(before, "app", appPassword),
		"no_host":      `{"username": "app", "password": "` + appPassword + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			aws := startAWS(t, awsstub.Options{})
			arn := aws.CreateSecret("prod/"+name, previous)
			aws.PutSecret("prod/"+name, secretJSON(now, "app", "wrong"))
			// The servers' certificates are of two authorities.
			config := "databases:\n" + smDatabase("main", arn, "tls: {mode: require}")
			proxy := sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: aws.Env(), Debug: true}, appPassword)
			_, err := pgx.Connect(t.Context(), "postgres://anybody@"+proxy.Addr(t, "main")+"/postgres?sslmode=disable")
			if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "28P01" {
				t.Errorf("login: %v, want the refusal of the server that AWSCURRENT names", err)
			}
			file := filepath.Join(t.TempDir(), "credproxy.yaml")
			if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, stdout, _ := credproxy(t, aws.Env(), "check", "-c", file); code != 1 || strings.Contains(stdout, "AWSPREVIOUS") {
				t.Errorf("check ends with %d and says %s", code, stdout)
			}
		})
	}
}
