package integration_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

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
	done = make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), sql)
		done <- err
	}()
	super, err := pg.Superuser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(t.Context())
	await(t, "the query to run", func() bool {
		return ask(t, super, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND wait_event IN ('PgSleep', 'advisory')") == "1"
	})
	return done
}

func closed(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// TestDrain lets a query finish after SIGTERM while nobody new is let in, and
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
	done := query(t, pg, conn, "SELECT pg_advisory_lock(1)") // goes on until the superuser unlocks
	w.Signal(syscall.SIGTERM)
	await(t, "the listener to close", func() bool { return closed(addr) })
	select {
	case err := <-done:
		t.Fatalf("the query ended with the listener: %v", err)
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

// TestDrainTimeout ends what is left when drain_timeout is over.
func TestDrainTimeout(t *testing.T) {
	pg, w := drainStand(t, "drain_timeout: 1s")
	conn := connect(t, w.Addr(t, "main"), "postgres")
	done := query(t, pg, conn, "SELECT pg_sleep(600)")
	start := time.Now()
	w.Signal(syscall.SIGTERM)
	if err := <-done; err == nil {
		t.Error("the query ended in order")
	}
	if code := w.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
	if took := time.Since(start); took < time.Second || took > 20*time.Second {
		t.Errorf("ended after %v with a drain_timeout of 1s", took)
	}
	if !containsAll(w.Log(), []string{"ending the sessions that are left", `"sessions":1`, "ended by shutdown"}) {
		t.Error("the log does not tell of the session that was ended")
	}
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
	await(t, "readiness to fail", func() bool {
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
	await(t, "the listener to close", func() bool { return closed(addr) })
	if code := w.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}
