package integration_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// drainStand is a credproxy that a test will end.
func drainStand(t *testing.T, shutdown string) (*servers.Postgres, *watched) {
	t.Helper()
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	config := "shutdown: {" + shutdown + "}\ndatabases:\n" + smDatabase("main", arn, "tls: "+tlsYAML("", pg.CAFile))
	return pg, watch(t, sidecar.Options{Env: aws.Env(), Config: config}, appPassword)
}

// query runs sql on conn and returns when the server works on it.
func query(t *testing.T, pg *servers.Postgres, conn *pgx.Conn, sql string) (done chan error) {
	t.Helper()
	super, err := pg.Superuser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(t.Context())
	running := func() string {
		return ask(t, super, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND wait_event IN ('PgSleep', 'advisory')")
	}
	before := running()
	done = make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), sql)
		done <- err
	}()
	sidecar.Await(t, "the query to run", func() bool { return running() != before })
	return done
}

func closed(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// TestDrain lets a query finish after SIGTERM while a cancel gets in and nobody else, and
// ends as soon as the last session has.
func TestDrain(t *testing.T) {
	pg, w := drainStand(t, "drain_timeout: 60s")
	addr := w.Addr(t, "main")
	conn := connect(t, addr, "postgres")
	super, err := pg.Superuser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(context.WithoutCancel(t.Context()))
	ask(t, super, "SELECT pg_advisory_lock(1)")
	cancelled := connect(t, addr, "postgres")
	slow := query(t, pg, cancelled, "SELECT pg_sleep(600)")
	done := query(t, pg, conn, "SELECT pg_advisory_lock(1)") // goes on until the superuser unlocks
	w.Signal(syscall.SIGTERM)
	sidecar.Await(t, "new sessions to be refused", func() bool { return w.logIn(t.Context(), addr, "postgres") != nil })
	w.ours(t, w.refused(t, "main", "postgres"), "57P03", "shutting down")
	if err := cancelled.PgConn().CancelRequest(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-slow; !hasCode(err, "57014") {
		t.Errorf("the query that was cancelled while credproxy drains: %v", err)
	}
	_ = cancelled.Close(t.Context())
	select {
	case err := <-done:
		t.Fatalf("the query ended with the drain: %v", err)
	default:
	}
	ask(t, super, "SELECT pg_advisory_unlock(1)")
	if err := <-done; err != nil {
		t.Errorf("the running query: %v", err)
	}
	if got := ask(t, conn, "SELECT 'still here'"); got != "still here" {
		t.Errorf("the session answers %s", got)
	}
	_ = conn.Close(t.Context())
	start := time.Now()
	if code := w.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("ended %v after the last session", took)
	}
}

// TestDrainTimeout ends what is left when drain_timeout is over: idle sessions
// first, and none without a word.
func TestDrainTimeout(t *testing.T) {
	pg, w := drainStand(t, "drain_timeout: 1s")
	addr := w.Addr(t, "main")
	busy := query(t, pg, connect(t, addr, "postgres"), "SELECT pg_sleep(600)")
	within, idle := connect(t, addr, "postgres"), connect(t, addr, "postgres")
	if _, err := within.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	ask(t, idle, "SELECT 1")
	start := time.Now()
	w.Signal(syscall.SIGTERM)
	wantEnded(t, "the query", <-busy)
	if code := w.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
	if took := time.Since(start); took < time.Second || took > 20*time.Second {
		t.Errorf("ended after %v with a drain_timeout of 1s", took)
	}
	wantEnded(t, "the idle session", idle.Ping(t.Context()))
	wantEnded(t, "the transaction", within.Ping(t.Context()))
	if !containsAll(w.Log(), []string{"ending the sessions that are left", `"sessions":3`, "ended by shutdown"}) {
		t.Error("the log does not tell of the sessions that were ended")
	}
	if ended := regexp.MustCompile(`"session ended".*"session":(\d)`).FindAllStringSubmatch(w.Log(), -1); len(ended) != 3 || ended[0][1] != "3" {
		t.Errorf("the idle session, 3, did not end first: %v", ended)
	}
}

func wantEnded(t *testing.T, what string, err error) {
	t.Helper()
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "57P01" || !strings.HasPrefix(e.Message, "credproxy: ") {
		t.Errorf("%s: %v", what, err)
	}
}

// TestDrainTimeoutMySQL has the one client read the word as the answer to its
// query, and the idle one as the answer to its next.
func TestDrainTimeoutMySQL(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := newMySQLStand(t, servers.MySQLOptions{Flavor: flavor}, "")
		w := watch(t, sidecar.Options{
			Env: append(s.aws.Env(), "CREDPROXY_SHUTDOWN_DRAIN_TIMEOUT=1s"), Config: mySQLDatabase(s.my, s.arn),
		}, appPassword)
		s.addr = w.Addr(t, "main")
		idle := rawLogin(t, s.addr, mysqlHello{caps: usualCaps, charset: 45, user: "anybody", plugin: "caching_sha2_password"})
		idle.exec("DO 1")
		db := s.conn(t, s.config())
		w.Signal(syscall.SIGTERM)
		_, err := db.ExecContext(t.Context(), "SELECT SLEEP(600)")
		if e, ok := errors.AsType[*mysql.MySQLError](err); !ok || e.Number != 1053 || string(e.SQLState[:]) != "08S01" || !strings.HasPrefix(e.Message, "credproxy: ") {
			t.Errorf("the query: %v", err)
		}
		if got := string(idle.rest()); !strings.Contains(got, "\x00\x00\x01\xff\x1d\x04#08S01credproxy: ") {
			t.Errorf("the idle session: %q", got)
		}
		if code := w.Wait(); code != 0 {
			t.Errorf("status %d", code)
		}
	})
}

// TestDrainMySQL has a session of MySQL hold the drain: others hear that there is none.
func TestDrainMySQL(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := newMySQLStand(t, servers.MySQLOptions{Flavor: flavor}, "")
		held := rawLogin(t, s.addr, mysqlHello{caps: usualCaps, charset: 45, user: "anybody", plugin: "caching_sha2_password"})
		held.exec("DO 1")
		s.proxy.Signal(syscall.SIGTERM)
		db := s.open(t, s.config())
		db.SetMaxIdleConns(0)
		sidecar.Await(t, "a session to be refused", func() bool { return db.PingContext(t.Context()) != nil })
		if err := db.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "credproxy is shutting down") {
			t.Errorf("a client that comes while credproxy drains: %v", err)
		}
		held.exec("DO 1")
		_ = held.Close()
		if code := s.proxy.Wait(); code != 0 {
			t.Errorf("status %d", code)
		}
	})
}

// TestDrainMinDelay shows the time in which an orchestrator still sends clients:
// they are let in, while readiness says to stop.
func TestDrainMinDelay(t *testing.T) {
	_, w := drainStand(t, "min_delay: 3s")
	addr := w.Addr(t, "main")
	if err := w.logIn(t.Context(), addr, "postgres"); err != nil {
		t.Fatal(err)
	}
	if ready, why := w.ready(t); !ready {
		t.Fatalf("not ready: %s", why)
	}
	w.Signal(syscall.SIGTERM)
	sidecar.Await(t, "readiness to fail", func() bool {
		code, body, err := w.Get("/readiness")
		return err == nil && code == http.StatusServiceUnavailable && strings.Contains(body, "shutting down")
	})
	if code, body, err := w.Get("/liveness"); err != nil || code != http.StatusOK {
		t.Errorf("liveness while draining: %d %s, %v", code, body, err)
	}
	if draining, err := w.Metric("credproxy_draining"); err != nil || draining != 1 {
		t.Errorf("credproxy_draining is %v, %v", draining, err)
	}
	if err := w.logIn(t.Context(), addr, "postgres"); err != nil {
		t.Errorf("login within min_delay: %v", err)
	}
	sidecar.Await(t, "the listener to close", func() bool { return closed(addr) })
	if code := w.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}
