package integration_test

import (
	"context"
	wire "encoding/binary" // binary is credproxy
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

const (
	sleeping   = "SELECT pg_sleep(60)"
	forwarded  = `result="forwarded"`
	unknown    = `result="unknown"`
	cancels    = "credproxy_cancel_requests_total"
	cancelCode = 80877102 // in the place of a protocol version
)

// cancelRequest sends a CancelRequest, as old as protocol 3.0 itself, and waits
// for the end of the connection, which is the only answer there is.
func cancelRequest(t *testing.T, network, addr string, pid uint32, secret []byte) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	packet := wire.BigEndian.AppendUint32(nil, uint32(12+len(secret)))
	packet = wire.BigEndian.AppendUint32(packet, cancelCode)
	packet = append(wire.BigEndian.AppendUint32(packet, pid), secret...)
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || len(answer) > 0 {
		t.Errorf("a cancel was answered %q, %v", answer, err)
	}
}

// sleep runs a query of a minute and returns when the server is at it. The
// channel yields how it ended.
func (s *pgStand) sleep(t *testing.T, conn *pgx.Conn) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), sleeping)
		done <- err
	}()
	s.awaitSleep(t, int(conn.PgConn().PID()))
	return done
}

// awaitSleep waits until a session sleeps; pid 0 is any.
func (s *pgStand) awaitSleep(t *testing.T, pid int) {
	t.Helper()
	super, err := s.Superuser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(context.Background())
	sidecar.Await(t, "a session that sleeps", func() bool {
		return ask(t, super, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND $1 IN (0, pid)", pid) == "1"
	})
}

// cancelled asserts that the query ended as a cancelled one, long before its time.
func cancelled(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if !hasCode(err, "57014") {
			t.Errorf("the query ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the query was not cancelled")
	}
}

// Every client cancels by its own means, over every kind of listener.
func TestPostgresCancel(t *testing.T) {
	tls := clientTLSFiles(t)
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		tcp, socket := s.conninfo, s.socket
		verify := "sslmode=verify-full sslrootcert=" + tls.ca
		for _, c := range []struct {
			name     string
			client   int // of psql; 0: pgx
			conninfo string
		}{
			{"pgx tcp", 0, tcp("sslmode=disable")},
			{"pgx unix", 0, socket()},
			{"pgx tls", 0, tcp(verify)},
			{"pgx direct tls", 0, tcp(verify, "sslnegotiation=direct")},
			{"pgx 3.2", 0, tcp("sslmode=disable max_protocol_version=3.2")},
			{"psql15 tcp", 15, tcp("sslmode=disable")},
			{"psql15 unix", 15, socket()},
			{"psql15 tls", 15, tcp(verify)},
			{"psql18 tcp", 18, tcp("sslmode=disable")},
			{"psql18 unix", 18, socket()},
			{"psql18 tls", 18, tcp(verify)},
			{"psql18 direct tls", 18, tcp(verify, "sslnegotiation=direct")},
			{"psql18 3.2", 18, tcp("sslmode=disable max_protocol_version=3.2")},
			{"psql18 tls 3.2", 18, tcp(verify, "max_protocol_version=3.2")},
		} {
			t.Run(c.name, func(t *testing.T) {
				if c.client == 0 {
					s.cancelByPgx(t, c.conninfo)
				} else {
					s.cancelByPsql(t, c.client, c.conninfo)
				}
			})
		}
		awaitMetric(t, s.proxy, 14, cancels, forwarded)
		awaitMetric(t, s.proxy, 0, cancels, unknown)
	}, tls.server)
}

func (s *pgStand) cancelByPgx(t *testing.T, conninfo string) {
	t.Helper()
	conn := pgConnect(t, conninfo)
	if strings.Contains(conninfo, "3.2") && s.Version >= 18 {
		if n := len(conn.PgConn().SecretKey()); n != 32 {
			t.Errorf("a key of %d bytes", n)
		}
	}
	done := s.sleep(t, conn)
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Error(err)
	}
	cancelled(t, done)
	if got := ask(t, conn, "SELECT 1"); got != "1" {
		t.Error(got)
	}
}

// cancelByPsql types Ctrl-C into psql.
func (s *pgStand) cancelByPsql(t *testing.T, version int, conninfo string) {
	t.Helper()
	cmd := psqlCommand(t, version, conninfo)
	var out strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(sleeping+";\n"), &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.awaitSleep(t, 0)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	// psql ends a script, unlike a dialogue, when it is interrupted.
	_ = cmd.Wait()
	if got := out.String(); !strings.Contains(got, "57014") {
		t.Errorf("psql said %s", got)
	}
}
