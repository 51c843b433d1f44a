package integration_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// noticed is how soon a server sees that a client of SLEEP or GET_LOCK is gone: MySQL and
// MariaDB look every 5 s.
const noticed = 20 * time.Second

// TestMySQLKilledClient has clients end in the middle of statements that never return, as
// one does that is killed. The server ends the statements, whatever the link to it is.
func TestMySQLKilledClient(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		for _, mode := range []string{"verify-full", "disable"} {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				more := []string{}
				if mode == "disable" {
					more = []string{mySQLLink("disable", "")}
				}
				s := newMySQLStand(t, servers.MySQLOptions{Flavor: flavor, NoTLS: mode == "disable"}, "", more...)
				holder := s.conn(t, s.config())
				if got := text(t, holder, "SELECT GET_LOCK('held', 0)"); got != "1" {
					t.Fatalf("the lock: %s", got)
				}
				for _, statement := range []string{"SELECT SLEEP(200)", "SELECT GET_LOCK('held', 200)"} {
					c := rawLogin(t, s.addr, mysqlHello{caps: usualCaps, charset: 45, user: "anybody", plugin: "caching_sha2_password"})
					c.seq = 0
					c.send(append([]byte{3}, statement...))
					running := func() int {
						return mySQLNumber(t, s.my, "SELECT COUNT(*) FROM information_schema.processlist WHERE info = ?", statement)
					}
					sidecar.Await(t, statement, func() bool { return running() == 1 })
					_ = c.Close()
					if !eventually(noticed, func() bool { return running() == 0 }) {
						t.Errorf("%s goes on after its client has ended", statement)
					}
				}
			})
		}
	})
}

// TestPostgresKilledClient is the same for PostgreSQL, whose servers look for the client if
// client_connection_check_interval says so.
func TestPostgresKilledClient(t *testing.T) {
	for _, mode := range []string{"verify-full", "disable"} {
		t.Run(mode, func(t *testing.T) {
			s := newPGServer(t, servers.PostgresOptions{Version: 18, NoTLS: mode == "disable"})
			more := []string{}
			if mode == "disable" {
				more = []string{"tls: {mode: disable}"}
			}
			s.run(t, secretJSON(s.Postgres, "app", appPassword), more...)
			c := pgConnect(t, s.conninfo("sslmode=disable"))
			if _, err := c.Exec(t.Context(), "SET client_connection_check_interval = '500ms'"); err != nil {
				t.Fatal(err)
			}
			pid := c.PgConn().PID()
			c.PgConn().Frontend().SendQuery(&pgproto3.Query{String: "SELECT pg_sleep(200)"})
			if err := c.PgConn().Frontend().Flush(); err != nil {
				t.Fatal(err)
			}
			watcher := pgConnect(t, s.direct())
			running := func() string {
				return ask(t, watcher, fmt.Sprintf("SELECT count(*) FROM pg_stat_activity WHERE pid = %d AND state = 'active'", pid))
			}
			sidecar.Await(t, "the statement", func() bool { return running() == "1" })
			_ = c.PgConn().Conn().(*net.TCPConn).Close()
			if !eventually(noticed, func() bool { return running() == "0" }) {
				t.Error("the statement goes on after its client has ended")
			}
		})
	}
}
