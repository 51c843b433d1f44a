package pool_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestCancelsMeetNobodyElse has each client send cancels and leave in the same moment, and
// the next one, which gets the session, run a query: it must come to its end.
func TestCancelsMeetNobodyElse(t *testing.T) {
	total := 1000
	if soak() {
		total = 10_000
	}
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprintf("server%d", version), func(t *testing.T) { cancelsMeetNobodyElse(t, version, total) })
	}
}

func cancelsMeetNobodyElse(t *testing.T, version, total int) {
	const each = 8
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: version})
	must(t, pg.CreateRole(t.Context(), "app", appPassword))
	s := postgresStand(t, pg, "pool: {mode: session, max_idle: 1, max_server_connections: 1}")
	packet := startup()
	var under sync.WaitGroup
	defer under.Wait()
	reused := 0
	var last uint32
	for sent := 0; sent < total; sent += each {
		c := connectRaw(t, s.addr, packet)
		if c.pid() == last {
			reused++
		}
		last = c.pid()
		if _, code := c.query("SELECT count(*) FROM generate_series(1, 20000)"); code != "" {
			t.Fatalf("after %d cancels of others: %s", sent, code)
		}
		key := *c.key
		ready := make([]net.Conn, each)
		for i := range ready {
			conn, err := net.Dial("tcp", s.addr)
			must(t, err)
			ready[i] = conn
		}
		for i, conn := range ready {
			under.Go(func() {
				if err := cancelOver(conn, &key); err != nil {
					t.Error(err)
				}
			})
			if i == each/2 { // half of them meet a query of their own
				c.query("SELECT 1")
			}
		}
		c.leave()
		if sent%(20*each) == 0 {
			under.Wait()
		}
	}
	under.Wait()
	forwarded, err := s.proxy.Metric("credproxy_cancel_requests_total", `result="forwarded"`)
	must(t, err)
	t.Logf("%d cancels, %v forwarded, %d of %d clients on the session before", total, forwarded, reused, total/each)
	if forwarded < float64(total)/20 || reused < total/each/10 {
		t.Errorf("too few of them were close")
	}
}

// TestCancelAdrift holds a cancel on its way to the server for longer than credproxy waits.
func TestCancelAdrift(t *testing.T) {
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18})
	must(t, pg.CreateRole(t.Context(), "app", appPassword))
	hold := make(chan struct{})
	var held, waiting atomic.Bool // the next connections are; one does
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var all sync.WaitGroup
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(func() { release(); _ = l.Close(); all.Wait() }) // when credproxy has ended
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wait := held.Load()
			all.Go(func() {
				defer client.Close()
				server, err := net.Dial("tcp", pg.Addr())
				if err != nil {
					return
				}
				defer server.Close()
				var answers sync.WaitGroup
				answers.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
				var to io.Writer = server
				if wait {
					to = heldWriter{server, hold, &waiting}
				}
				_, _ = io.Copy(to, client)
				_ = server.Close()
				answers.Wait()
			})
		}
	})
	near := *pg
	near.Port = l.Addr().(*net.TCPAddr).Port
	s := postgresStand(t, &near, "pool: {mode: session, max_idle: 1}")
	sidecar.Await(t, "login of credproxy's own", func() bool {
		n, err := s.proxy.Metric("credproxy_probe_success")
		return err == nil && n == 1
	})
	packet := startup()
	a := connectRaw(t, s.addr, packet)
	held.Store(true)
	var under sync.WaitGroup
	under.Go(func() { _ = cancel(t.Context(), s.addr, a.key) })
	sidecar.Await(t, "cancel on its way", func() bool { return waiting.Load() })
	a.leave()
	held.Store(false)
	sidecar.Await(t, "end of the session's use", func() bool { return s.metric(t, "in_use") == 0 })
	b := connectRaw(t, s.addr, packet)
	if b.pid() == a.pid() {
		t.Error("the session is used again")
	}
	release()
	under.Wait()
	if _, code := b.query("SELECT pg_sleep(0.2)"); code != "" {
		t.Errorf("the next client: %s", code)
	}
	b.leave()
	if n := s.metric(t, "closed_total", `reason="reset_failed"`); n != 1 {
		t.Errorf("%d sessions could not be reset", n)
	}
}

// heldWriter passes on what asks for TLS, and the rest when it may.
type heldWriter struct {
	net.Conn
	may     chan struct{}
	waiting *atomic.Bool
}

func (w heldWriter) Write(b []byte) (int, error) {
	if len(b) > 8 {
		w.waiting.Store(true)
		<-w.may
	}
	return w.Conn.Write(b)
}
