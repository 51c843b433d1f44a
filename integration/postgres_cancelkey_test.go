package integration_test

import (
	"bytes"
	"context"
	wire "encoding/binary" // binary is credproxy
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// A key cancels through every listener of its database, and nothing but its own
// session, as long as that lives. The database's own key is worth nothing here.
func TestPostgresCancelKey(t *testing.T) {
	for _, c := range []struct {
		server    int
		protocol  string
		keyLength int
	}{{15, "3.0", 4}, {18, "3.0", 4}, {18, "3.2", 32}} {
		t.Run(fmt.Sprintf("server%d protocol %s", c.server, c.protocol), func(t *testing.T) {
			s := newPGServer(t, servers.PostgresOptions{Version: c.server, NoTLS: true})
			upstream := startTap(t, listenLocal(t), s.Addr()) // hears the keys: there is no TLS
			s.run(t, secretJSON(s.Postgres, "app", appPassword), "tls: {mode: disable}", fmt.Sprintf("port: %d", upstream.port()))
			info := s.conninfo("sslmode=disable", "max_protocol_version="+c.protocol)
			conn, bystander := pgConnect(t, info), pgConnect(t, info)
			pid, key := conn.PgConn().PID(), conn.PgConn().SecretKey()
			if len(key) != c.keyLength {
				t.Errorf("a key of %d bytes", len(key))
			}
			waiting := s.waitForLock(t, bystander)

			for _, listener := range [][2]string{{"tcp", s.addr}, {"tcp", s.other}, {"unix", s.folder + "/.s.PGSQL.5432"}} {
				done := s.sleep(t, conn)
				cancelRequest(t, listener[0], listener[1], pid, key)
				cancelled(t, done)
			}
			awaitMetric(t, s.proxy, 3, cancels, forwarded)

			realKey := forwardedKey(t, upstream.sent(), pid, c.keyLength)
			if bytes.Equal(realKey, key) {
				t.Error("the client has the database's own key")
			}
			done := s.sleep(t, conn)
			cancelRequest(t, "tcp", s.addr, pid, realKey)
			cancelRequest(t, "tcp", s.addr, pid, append(bytes.Clone(key), 0))
			cancelRequest(t, "tcp", s.addr, bystander.PgConn().PID(), key)
			awaitMetric(t, s.proxy, 3, cancels, unknown)
			cancelRequest(t, "tcp", s.addr, pid, key)
			cancelled(t, done)

			_ = conn.Close(context.Background())
			awaitMetric(t, s.proxy, 1, "credproxy_connections_active")
			cancelRequest(t, "tcp", s.addr, pid, key)
			awaitMetric(t, s.proxy, 4, cancels, unknown)
			awaitMetric(t, s.proxy, 4, cancels, forwarded)
			if err := waiting(); err != nil {
				t.Errorf("the bystander: %v", err)
			}
		})
	}
}

// forwardedKey finds the key that credproxy sent to the database in a
// CancelRequest.
func forwardedKey(t *testing.T, sent []byte, pid uint32, length int) []byte {
	t.Helper()
	head := wire.BigEndian.AppendUint32(nil, uint32(12+length))
	head = wire.BigEndian.AppendUint32(head, cancelCode)
	head = wire.BigEndian.AppendUint32(head, pid)
	_, rest, found := bytes.Cut(sent, head)
	if !found || len(rest) < length {
		t.Fatal("no cancel request reached the database")
	}
	return rest[:length]
}

// waitForLock makes conn wait for a lock that somebody holds. The function
// returned lets go of it and tells how the query ended.
func (s *pgStand) waitForLock(t *testing.T, conn *pgx.Conn) (end func() error) {
	t.Helper()
	super, err := s.Superuser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = super.Close(context.Background()) })
	ask(t, super, "SELECT pg_advisory_lock(1)::text")
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock(1)")
		done <- err
	}()
	sidecar.Await(t, "a session that waits for the lock", func() bool {
		return ask(t, super, "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $1", int(conn.PgConn().PID())) == "1"
	})
	return func() error {
		ask(t, super, "SELECT pg_advisory_unlock(1)")
		return <-done
	}
}

// pgx keeps its cancel key within TLS. The signal handler of psql cannot, of 18
// neither; its cancels are heard in clear, as by PostgreSQL itself.
func TestPostgresCancelEncrypted(t *testing.T) {
	files := clientTLSFiles(t)
	s := newPGServer(t, servers.PostgresOptions{Version: 18})
	s.run(t, secretJSON(s.Postgres, "app", appPassword), files.server)
	code := wire.BigEndian.AppendUint32([]byte{0, 0, 0, 16}, cancelCode)
	for client, inClear := range map[int]bool{0: false, 15: true, 18: true} { // 0: pgx
		wiretap := startTap(t, listenLocal(t), s.addr)
		conninfo := fmt.Sprintf("host=127.0.0.1 port=%d user=anybody dbname=postgres sslmode=require", wiretap.port())
		if client == 0 {
			s.cancelByPgx(t, conninfo)
		} else {
			s.cancelByPsql(t, client, conninfo)
		}
		if got := bytes.Contains(wiretap.sent(), code); got != inClear {
			t.Errorf("client %d: a cancel in clear: %v", client, got)
		}
	}
}
