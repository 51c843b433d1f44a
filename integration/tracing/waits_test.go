package tracing_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// openMySQL logs in and leaves, if it can.
func (s *stand) openMySQL(t *testing.T, attributes string) error {
	t.Helper()
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.ConnectionAttributes = clientUser, "tcp", s.addr, attributes
	connector, err := mysql.NewConnector(c)
	must(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(t.Context())
}

// eachEngine runs a test with a server of each engine and a function that logs in and leaves.
func eachEngine(t *testing.T, more []string, test func(t *testing.T, s *stand, visit func())) {
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pg, secret := postgres(t, 15)
		s := start(t, "postgres", secret, pg.CAFile, more...)
		test(t, s, func() { s.visit(t, "") })
	})
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) {
			t.Parallel()
			my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})
			must(t, my.CreateUser(t.Context(), appUser, appPassword, ""))
			s := start(t, flavor, secretOf(flavor, my.Port, "app"), my.CAFile, more...)
			test(t, s, func() { must(t, s.openMySQL(t, "")) })
		})
	}
}

// session returns the login of the n-th session.
func (r *receiver) session(t *testing.T, n int) login {
	t.Helper()
	return r.await(t, fmt.Sprintf("login of session %d", n), func(l login) bool { return l.about()["credproxy.session"] == int64(n) })
}

// TestReused has a session used by one client after another, and once when it was idle for so
// long that it is reset again.
func TestReused(t *testing.T) {
	t.Parallel()
	eachEngine(t, []string{"pool: {mode: session, max_idle: 1}"}, func(t *testing.T, s *stand, visit func()) {
		s.proxy.AwaitLog(t, "probe succeeded")
		back := func() {
			t.Helper()
			sidecar.Await(t, "session in the pool", func() bool {
				n, err := s.proxy.Metric("credproxy_pool_idle")
				return err == nil && n == 1
			})
		}
		visit()
		back()
		visit()
		back()
		time.Sleep(31 * time.Second) // after 30 s
		visit()
		first, second, third := s.receiver.session(t, 1), s.receiver.session(t, 2), s.receiver.session(t, 3)
		if first.about()["credproxy.reused"] != nil || first.part("auth") == nil || first.part("tls") == nil {
			t.Errorf("the first: %s, %v", first.tree(), first.about())
		}
		for tree, l := range map[string]login{"request": second, "request reset": third} {
			got := l.about()
			if l.tree() != tree || got["credproxy.reused"] != true {
				t.Errorf("the tree: %s, want %s; %v", l.tree(), tree, got)
			}
			for _, key := range []string{"db.system.name", "db.namespace", "server.address", "server.port", "credproxy.version_id"} {
				if want := first.about()[key]; want == nil || got[key] != want {
					t.Errorf("%s is %v, want %v", key, got[key], want)
				}
			}
		}
	})
}

// TestWaitsForSession has a second client wait for the one session that there may be.
func TestWaitsForSession(t *testing.T) {
	t.Parallel()
	pg, secret := postgres(t, 15)
	s := start(t, "postgres", secret, pg.CAFile, "pool: {mode: session, max_idle: 1, max_server_connections: 1}")
	conn, err := s.connect(t.Context(), "")
	must(t, err)
	done := make(chan error, 1)
	go func() {
		second, err := s.connect(t.Context(), "")
		if err == nil {
			err = second.Close(t.Context())
		}
		done <- err
	}()
	sidecar.Await(t, "second client in the queue", func() bool {
		n, err := s.proxy.Metric("credproxy_pool_waiting")
		return err == nil && n == 1
	})
	must(t, conn.Close(t.Context()))
	must(t, <-done)
	if l := s.receiver.session(t, 2); l.tree() != "request wait for session" || l.about()["credproxy.reused"] != true {
		t.Errorf("the tree: %s, %v", l.tree(), l.about())
	}
}

// TestRole has servers asked for their role.
func TestRole(t *testing.T) {
	t.Parallel()
	eachEngine(t, []string{"role: writer"}, func(t *testing.T, s *stand, visit func()) {
		s.proxy.AwaitLog(t, "the writer is known")
		visit()
		l := s.receiver.session(t, 1)
		if check := l.part("role check"); check == nil || check.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET || !strings.HasSuffix(l.tree(), "tls auth role check") {
			t.Errorf("the tree: %s", l.tree())
		}
	})
}

// TestRotation has the database take a new password some time before the secret has it: one
// login searches and waits for the rotation, another for its verdict.
func TestRotation(t *testing.T) {
	t.Parallel()
	const next = "planted-Next-1"
	pg, secret := postgres(t, 15)
	s := start(t, "postgres", secret, pg.CAFile)
	s.proxy.AwaitLog(t, "probe succeeded")
	must(t, pg.SetPassword(t.Context(), appUser, next))
	time.Sleep(1100 * time.Millisecond) // no login was accepted within the last second
	visits := make(chan error, 2)
	visit := func() {
		conn, err := s.connect(t.Context(), "")
		if err == nil {
			err = conn.Close(t.Context())
		}
		visits <- err
	}
	go visit()
	s.proxy.AwaitLog(t, "credential rejected by the database")
	go visit()
	sidecar.Await(t, "both sessions", func() bool {
		n, err := s.proxy.Metric("credproxy_connections_active")
		return err == nil && n == 2
	})
	time.Sleep(300 * time.Millisecond) // for a pause or two
	version := s.aws.PutSecret(secretName, strings.Replace(secret, appPassword, next, 1), awsstub.Current)
	must(t, <-visits)
	must(t, <-visits)
	searching, waiting := s.receiver.session(t, 1), s.receiver.session(t, 2)
	for _, l := range []login{searching, waiting} {
		if l.about()["credproxy.version_id"] != version[:8] || l.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET {
			t.Errorf("%v, %v", l.about(), l.Status)
		}
	}
	tree := searching.tree()
	if !strings.HasPrefix(tree, "request dial dial/lookup tls auth! source") || !strings.HasSuffix(tree, "wait for rotation source dial dial/lookup tls auth") {
		t.Errorf("the tree of the search: %s", tree)
	}
	if got := waiting.tree(); got != "request wait for verdict dial dial/lookup tls auth" {
		t.Errorf("the tree of the wait: %s", got)
	}
	if waited, pause := took(waiting.part("wait for verdict")), took(searching.part("wait for rotation")); waited < pause/2 || took(waiting.Span) < waited || pause <= 0 {
		t.Errorf("waited %v for a verdict, of %v; a pause of %v", waited, took(waiting.Span), pause)
	}
}

// TestWaitsForServer has a client come while no server is the writer, of one that says it
// follows another.
func TestWaitsForServer(t *testing.T) {
	t.Parallel()
	pg, secret := postgres(t, 15)
	s := start(t, "postgres", secret, pg.CAFile, "role: writer", "failover: {monitor: 100ms}", "limits: {login_timeout: 60s}")
	s.proxy.AwaitLog(t, "the writer is known")
	says := func(answer bool) {
		t.Helper()
		must(t, pg.Exec(t.Context(), fmt.Sprintf("CREATE OR REPLACE FUNCTION pg_catalog.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT %v'", answer)))
	}
	says(true)
	s.proxy.AwaitLog(t, "the writer is gone")
	done := make(chan error, 1)
	go func() {
		conn, err := s.connect(t.Context(), "")
		if err == nil {
			err = conn.Close(t.Context())
		}
		done <- err
	}()
	sidecar.Await(t, "waiting client", func() bool {
		n, err := s.proxy.Metric("credproxy_connections_active")
		return err == nil && n == 1
	})
	time.Sleep(200 * time.Millisecond) // it is counted before it waits
	says(false)
	must(t, <-done)
	if l := s.receiver.session(t, 1); l.tree() != "request wait for server dial tls auth role check" {
		t.Errorf("the tree: %s", l.tree())
	}
}
