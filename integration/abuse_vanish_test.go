package integration_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestVanishingClients has clients leave at each step, with FIN and with RST.
func TestVanishingClients(t *testing.T) {
	a := newAbused(t)
	startup := helloPacket(3, 0, "user", "app", "database", "postgres")
	steps := []struct {
		name string
		send [][]byte
		read int // bytes before it leaves, -1 for the whole login
	}{
		{"before a byte", nil, 0},
		{"after SSLRequest", [][]byte{sslRequest}, 0},
		{"after the answer to SSLRequest", [][]byte{sslRequest}, 1},
		{"in the startup packet", [][]byte{startup[:20]}, 0},
		{"while credproxy logs in", [][]byte{startup}, 0},
		{"at AuthenticationOk", [][]byte{startup}, 9},
		{"after the login", [][]byte{startup}, -1},
		{"in a query", [][]byte{startup, simpleQuery("SELECT pg_sleep(0.5)")}, -1},
		{"in a result", [][]byte{startup, simpleQuery("SELECT repeat('x', 1000) FROM generate_series(1, 50000)")}, -1},
		{"in COPY FROM", [][]byte{startup, simpleQuery("CREATE TEMP TABLE c (t text); COPY c FROM STDIN"), append([]byte{'d', 0, 1, 0, 0}, make([]byte, 100)...)}, -1},
	}
	for _, leave := range []struct {
		how string
		f   func(*net.TCPConn)
	}{{"FIN", finish}, {"RST", reset}} {
		for _, step := range steps {
			t.Run(step.name+" with "+leave.how, func(t *testing.T) {
				var all sync.WaitGroup
				for range 10 {
					all.Go(func() { a.vanish(t, step.send, step.read, leave.f) })
				}
				all.Wait()
			})
		}
	}
	a.recovered(t)
}

func (a *abused) vanish(t *testing.T, send [][]byte, read int, leave func(*net.TCPConn)) {
	conn, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Error(err)
		return
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	for i, b := range send {
		if _, err := conn.Write(b); err != nil {
			t.Errorf("send %d: %v", i, err)
		}
		if i == 0 && read == -1 {
			if err := awaitReady(conn); err != nil {
				t.Errorf("log in: %v", err)
			}
		}
	}
	if read > 0 {
		if _, err := io.ReadFull(conn, make([]byte, read)); err != nil {
			t.Errorf("read %d bytes: %v", read, err)
		}
	}
	leave(conn.(*net.TCPConn))
}

// awaitReady reads messages up to ReadyForQuery.
func awaitReady(conn net.Conn) error {
	for {
		var head [5]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err
		}
		body := make([]byte, int(head[3])<<8|int(head[4])-4)
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		switch head[0] {
		case 'Z':
			return nil
		case 'E':
			return fmt.Errorf("refused: %q", body)
		}
	}
}

// TestMaxConnections fills the listener: one more is told so, a cancel still
// gets through, and a place that is given up is taken again.
func TestMaxConnections(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
		smDatabase("main", arn, "tls: "+tlsYAML("", pg.CAFile), "limits: {max_connections: 2}")}, appPassword)
	addr := w.Addr(t, "main")
	busy, idle := connect(t, addr, "postgres"), connect(t, addr, "postgres")
	w.ours(t, w.refused(t, "main", "postgres"), "53300", "limits.max_connections is 2")
	w.failure(t, "main", `"result":"too_many"`)
	if ready, why := w.ready(t); !ready {
		t.Errorf("readiness when full: %s", why)
	}
	if _, body, err := w.Get("/status"); err != nil || !strings.Contains(body, "limits.max_connections is reached") {
		t.Errorf("the status does not tell: %v %s", err, body)
	}
	done := query(t, pg, busy, "SELECT pg_sleep(600)")
	if err := busy.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !hasCode(err, "57014") {
		t.Errorf("the cancelled query: %v", err)
	}
	if got := ask(t, idle, "SELECT 1"); got != "1" {
		t.Errorf("the other session answers %s", got)
	}
	_ = idle.Close(t.Context())
	w.recovers(t, "main", "postgres")
}
