package servers_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
)

// ask logs in and returns the one value of the answer.
func ask(ctx context.Context, url, sql string) (string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var answer string
	return answer, conn.QueryRow(ctx, sql).Scan(&answer)
}

func sqlState(err error) string {
	var pgErr *pgconn.PgError
	errors.As(err, &pgErr)
	if pgErr == nil {
		return ""
	}
	return pgErr.Code
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eachVersion runs a test against both servers side by side.
func eachVersion(t *testing.T, test func(t *testing.T, version int)) {
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			test(t, version)
		})
	}
}

func TestPasswordOverTLS(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int) {
		ctx := t.Context()
		pg := servers.RunPostgres(t, servers.PostgresOptions{Version: version, Settings: map[string]string{"max_connections": "17"}})
		must(t, pg.CreateRole(ctx, "app", `p'a\ss`))
		login := pg.URL("app", `p'a\ss`, "postgres")

		got, err := ask(ctx, login, `SELECT concat_ws(' ', current_setting('server_version_num')::int / 10000, ssl, version, current_setting('max_connections'))
			FROM pg_stat_ssl WHERE pid = pg_backend_pid()`)
		must(t, err)
		if want := fmt.Sprintf("%d t TLSv1.3 17", version); got != want {
			t.Errorf("logged in to %q, want %q", got, want)
		}
		if _, err := ask(ctx, pg.URL("app", "wrong", "postgres"), "SELECT ''"); sqlState(err) != "28P01" {
			t.Errorf("wrong password: %v", err)
		}
		if _, err := ask(ctx, strings.Replace(login, "verify-full", "disable", 1), "SELECT ''"); sqlState(err) != "28000" {
			t.Errorf("login in the clear: %v", err)
		}
		must(t, pg.SetPassword(ctx, "app", "next"))
		if _, err := ask(ctx, login, "SELECT ''"); sqlState(err) != "28P01" {
			t.Errorf("password of before the rotation: %v", err)
		}
		_, err = ask(ctx, pg.URL("app", "next", "postgres"), "SELECT ''")
		must(t, err)
	})
}

func TestAuthMethods(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int) {
		for auth, stored := range map[string]string{"scram-sha-256": "SCRAM-SHA-256$", "md5": "md5", "password": "SCRAM-SHA-256$", "trust": "SCRAM-SHA-256$"} {
			pg := servers.RunPostgres(t, servers.PostgresOptions{Version: version, Auth: auth})
			must(t, pg.CreateRole(t.Context(), "app", "secret"))
			_, err := ask(t.Context(), pg.URL("app", "secret", "postgres"), "SELECT ''")
			must(t, err)
			super, err := pg.Superuser(t.Context())
			must(t, err)
			var password string
			must(t, super.QueryRow(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'").Scan(&password))
			must(t, super.Close(t.Context()))
			if !strings.HasPrefix(password, stored) {
				t.Errorf("%s: stored as %.14q", auth, password)
			}
			_, err = ask(t.Context(), pg.URL("app", "wrong", "postgres"), "SELECT ''")
			if refused := sqlState(err) == "28P01"; refused == (auth == "trust") {
				t.Errorf("%s: wrong password: %v", auth, err)
			}
		}
	})
}

func TestCertificates(t *testing.T) {
	ca, err := pki.NewRSACA("test")
	must(t, err)
	clientCA, err := pki.NewCA("clients")
	must(t, err)
	leaf := func(l pki.Leaf) *pki.Certificate {
		cert, err := ca.Issue(l)
		must(t, err)
		return cert
	}
	tests := []struct {
		name    string
		options servers.PostgresOptions
		want    string // in the error; "" for success
	}{
		{"good", servers.PostgresOptions{Certificate: leaf(pki.Localhost()), CA: ca}, ""},
		{"default leaf", servers.PostgresOptions{CA: ca}, ""},
		{"expired", servers.PostgresOptions{Certificate: leaf(pki.Expired()), CA: ca}, "expired"},
		{"wrong host", servers.PostgresOptions{Certificate: leaf(pki.WrongHost()), CA: ca}, "valid for elsewhere.test, not localhost"},
		{"other authority", servers.PostgresOptions{Certificate: leaf(pki.Localhost()), CA: clientCA}, "unknown authority"},
		{"client certificate", servers.PostgresOptions{ClientCA: clientCA}, "requires a valid client certificate"},
		{"no tls", servers.PostgresOptions{NoTLS: true}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.Version = 18
			pg := servers.RunPostgres(t, tt.options)
			must(t, pg.CreateRole(t.Context(), "app", "secret"))
			pg.Host = "localhost"
			_, err := ask(t.Context(), pg.URL("app", "secret", "postgres"), "SELECT ''")
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("login: %v, want %q", err, tt.want)
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	clientCA, err := pki.NewCA("clients")
	must(t, err)
	cert, err := clientCA.Issue(pki.Leaf{Names: []string{"app"}, Client: true})
	must(t, err)
	pair, err := cert.TLS()
	must(t, err)
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18, ClientCA: clientCA})
	must(t, pg.CreateRole(t.Context(), "app", "secret"))
	config, err := pgx.ParseConfig(pg.URL("app", "secret", "postgres"))
	must(t, err)
	config.TLSConfig.Certificates = []tls.Certificate{pair}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	must(t, err)
	must(t, conn.Close(t.Context()))
}

func TestIAMLogin(t *testing.T) {
	token := strings.Repeat("t0ken/+=&%", 160) // 1,600 bytes, as long as those with a session token
	verifier, err := servers.StartTokenVerifier(func(user, got string) error {
		if user != "iam user" || got != token {
			return fmt.Errorf("%s with %d bytes", user, len(got))
		}
		return nil
	})
	must(t, err)
	t.Cleanup(func() { verifier.Close() })
	eachVersion(t, func(t *testing.T, version int) {
		pg := servers.RunPostgres(t, servers.PostgresOptions{Version: version, IAM: verifier})
		must(t, pg.CreateIAMRole(t.Context(), "iam user", "REPLICATION"))
		must(t, pg.CreateRole(t.Context(), "app", "secret"))
		got, err := ask(t.Context(), pg.URL("iam user", token, "postgres"), "SELECT current_user::text")
		if err != nil || got != "iam user" {
			t.Errorf("good token: %q, %v", got, err)
		}
		_, err = ask(t.Context(), pg.URL("iam user", token[1:], "postgres"), "SELECT ''")
		if want := `FATAL: PAM authentication failed for user "iam user" (SQLSTATE 28000)`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bad token: %v", err)
		}
		if _, err = ask(t.Context(), pg.URL("app", "secret", "postgres"), "SELECT ''"); err != nil {
			t.Errorf("password user beside IAM: %v", err)
		}
	})
}

// TestPrograms uses what each version's programs are wanted for.
func TestPrograms(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int) {
		pg := servers.RunPostgres(t, servers.PostgresOptions{Version: version})
		must(t, pg.CreateRole(t.Context(), "app", "secret", "REPLICATION"))
		must(t, pg.Exec(t.Context(), "CREATE DATABASE app OWNER app"))
		login := pg.URL("app", "secret", "app")
		receive := login + "&application_name=r"
		runs := [][]string{
			{"pgbench", "--initialize", "--quiet", login},
			{"pgbench", "--transactions=5", login},
			{"psql", "--command=SELECT count(*) FROM pgbench_accounts", login},
			{"pg_dump", "--schema-only", login},
			{"pg_basebackup", "--dbname=" + login, "--pgdata=" + t.TempDir() + "/backup", "--checkpoint=fast"},
			{"pg_receivewal", "--dbname=" + receive, "--slot=s", "--create-slot"},
			{"pg_recvlogical", "--dbname=" + receive, "--slot=l", "--create-slot"},
		}
		if version >= 18 {
			runs = append(runs, []string{"psql", "--command=SELECT 1", login + "&max_protocol_version=3.2&sslnegotiation=direct"})
		}
		for _, run := range runs {
			cmd := exec.CommandContext(t.Context(), servers.PostgresProgram(t, version, run[0]), run[1:]...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", run[0], err, out)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer busy.Close()
	tests := []struct {
		name    string
		options servers.PostgresOptions
		want    string
	}{
		{"unknown version", servers.PostgresOptions{Version: 9}, "run integration/setup.sh"},
		{"bad setting", servers.PostgresOptions{Version: 18, Settings: map[string]string{"max_connections": "no"}}, `invalid value for parameter "max_connections"`},
		{"port taken", servers.PostgresOptions{Version: 18, Settings: map[string]string{"port": fmt.Sprint(busy.Addr().(*net.TCPAddr).Port)}}, "Address already in use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pg, err := servers.StartPostgres(t.Context(), tt.options)
			if err == nil {
				pg.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
