package failover_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// couple is a primary, its standby, and a credproxy that knows both.
type couple struct {
	primary, standby *servers.Postgres
	proxy            *sidecar.Proxy
	addr             string
	file, config     string
}

const coupleSecret = "prod/couple"

// startCouple starts all three, for clients of a role, with more YAML of the database.
func startCouple(t *testing.T, version int, role string, more ...string) *couple {
	t.Helper()
	primary := servers.RunPostgres(t, servers.PostgresOptions{Version: version})
	if err := errors.Join(primary.CreateRole(t.Context(), "app", "planted-Couple-1"), primary.Exec(t.Context(), "CREATE TABLE t (n int); GRANT ALL ON t TO app")); err != nil {
		t.Fatal(err)
	}
	standby := servers.RunPostgres(t, servers.PostgresOptions{Version: version, StandbyOf: primary, Certificate: primary.Certificate})
	aws, err := awsstub.Start(awsstub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(aws.Close)
	aws.CreateSecret(coupleSecret, fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":"app","password":"planted-Couple-1","dbname":"postgres"}`, primary.Host, primary.Port))
	caFile, err := primary.CA.Write(t.TempDir(), "ca") // outlives the primary's
	must(t, err)
	config := fmt.Sprintf("databases:\n  - name: orders\n    listen: 127.0.0.1:0\n    credentials: {secrets_manager: {secret_id: %s}}\n    tls: {ca_file: %q}\n    role: %s\n    hosts: [%q]\n",
		coupleSecret, caFile, role, standby.Addr())
	for _, line := range more {
		config += "    " + line + "\n"
	}
	file := filepath.Join(t.TempDir(), "credproxy.yaml")
	must(t, os.WriteFile(file, []byte(config), 0o600))
	proxy := sidecar.Run(t, sidecar.Options{Binary: binary, Args: []string{"-c", file}, Env: aws.Env()}, "planted-Couple-1")
	addr := proxy.Addr(t, "orders")
	sidecar.Await(t, "first look at the servers", func() bool { return strings.Contains(proxy.Log(), "the "+role+" is known") })
	return &couple{primary, standby, proxy, addr, file, config}
}

// connect connects through credproxy.
func (c *couple) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), "postgres://anybody@"+c.addr+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// port asks a session at which server it is, and writes there.
func port(t *testing.T, conn *pgx.Conn) (p int) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "INSERT INTO t VALUES (1)"); err != nil {
		t.Error(err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT inet_server_port()").Scan(&p); err != nil {
		t.Error(err)
	}
	return p
}

// TestStandbyIsPromoted has a primary end and its standby take over: clients get the one
// that takes writes, though the secret goes on naming the other.
func TestStandbyIsPromoted(t *testing.T) {
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			c := startCouple(t, version, "writer")
			if at := port(t, c.connect(t)); at != c.primary.Port {
				t.Fatalf("at port %d, want the primary's, %d", at, c.primary.Port)
			}
			if err := c.primary.Kill(); err != nil {
				t.Fatal(err)
			}
			waiting := make(chan int, 4)
			for range cap(waiting) {
				go func() { waiting <- port(t, c.connect(t)) }()
			}
			if err := c.standby.Promote(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range cap(waiting) {
				if at := <-waiting; at != c.standby.Port {
					t.Errorf("at port %d, want the new primary's, %d", at, c.standby.Port)
				}
			}
			sidecar.Await(t, "line in the log", func() bool { return strings.Contains(c.proxy.Log(), "the database failed over") })
		})
	}
}

// becomeReader has a server say that it is in recovery, as a demoted one of Aurora does,
// which keeps its sessions.
func becomeReader(t *testing.T, pg *servers.Postgres) {
	t.Helper()
	if err := pg.Exec(t.Context(), "CREATE OR REPLACE FUNCTION pg_catalog.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT true'"); err != nil {
		t.Fatal(err)
	}
}

// TestDemotedServerLosesItsSessions has a writer become a reader and keep its sessions: the
// idle ones hear why they end, one in a transaction goes on until the drain is over.
func TestDemotedServerLosesItsSessions(t *testing.T) {
	c := startCouple(t, 18, "writer", "failover: {drain: 2s}")
	idle, busy := c.connect(t), c.connect(t)
	port(t, idle)
	if _, err := busy.Exec(t.Context(), "BEGIN; SELECT 1"); err != nil {
		t.Fatal(err)
	}
	if err := c.standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	becomeReader(t, c.primary)
	demoted := time.Now()
	for name, conn := range map[string]*pgx.Conn{"idle": idle, "busy": busy} {
		err := conn.PgConn().WaitForNotification(t.Context()) // of which there are none
		said, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || said.Code != "57P01" || !strings.Contains(said.Message, "credproxy: ") || !strings.Contains(said.Message, "not the writer any more") {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: after %v: %v", name, time.Since(demoted), err)
	}
	if at := port(t, c.connect(t)); at != c.standby.Port {
		t.Errorf("at port %d, want the new primary's, %d", at, c.standby.Port)
	}
}

// TestReaderFallsBack has clients of role reader, who get the standby, though the secret names
// the primary; and the primary when the standby is gone, if they may.
func TestReaderFallsBack(t *testing.T) {
	c := startCouple(t, 15, "reader", "failover: {reader_fallback: writer}")
	at := func() (p int, standby bool) {
		conn := c.connect(t)
		if err := conn.QueryRow(t.Context(), "SELECT inet_server_port(), pg_is_in_recovery()").Scan(&p, &standby); err != nil {
			t.Error(err)
		}
		return p, standby
	}
	for range 4 {
		if p, standby := at(); !standby {
			t.Errorf("at port %d, want the standby's, %d", p, c.standby.Port)
		}
	}
	c.standby.Stop()
	if p, _ := at(); p != c.primary.Port {
		t.Errorf("at port %d, want the primary's, %d", p, c.primary.Port)
	}
}

// TestReloadKeepsTheWriter has a configuration change after a failover: clients go on to the
// new primary, while the secret names one that is gone.
func TestReloadKeepsTheWriter(t *testing.T) {
	c := startCouple(t, 18, "writer")
	port(t, c.connect(t))
	if err := c.primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	port(t, c.connect(t))
	must(t, os.WriteFile(c.file, []byte(strings.Replace(c.config, "role: writer", "role: writer\n    limits: {max_connections: 7}", 1)), 0o600))
	c.proxy.Signal(syscall.SIGHUP)
	sidecar.Await(t, "reload", func() bool {
		n, err := c.proxy.Metric("credproxy_config_reload_total", `result="ok"`)
		return err == nil && n > 0
	})
	for range 3 {
		if at := port(t, c.connect(t)); at != c.standby.Port {
			t.Errorf("at port %d, want the new primary's, %d", at, c.standby.Port)
		}
	}
}
