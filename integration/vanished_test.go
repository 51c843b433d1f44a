package integration_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// vanisher stands between credproxy and a database, and can make it vanish: from then on
// its end of each connection takes in nothing, not even acknowledges.
type vanisher struct {
	addr  string
	mu    sync.Mutex
	conns []*net.TCPConn
}

func newVanisher(t *testing.T, target string) *vanisher {
	t.Helper()
	v := new(vanisher)
	v.addr = between(t, target, func(client, server net.Conn) {
		v.mu.Lock()
		v.conns = append(v.conns, client.(*net.TCPConn))
		v.mu.Unlock()
		splice(client, server)
	})
	return v
}

// vanish has the kernel drop what arrives (SO_ATTACH_FILTER of socket(7)).
func (v *vanisher) vanish(t *testing.T) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.conns {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
		err = errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
		}), err)
		if err != nil && !errors.Is(err, net.ErrClosed) { // that of a probe has ended
			t.Fatal(err)
		}
	}
}

// TestVanishedServer has the database's machine vanish without a word: clients in a
// statement and idle ones hear of it within limits.server_timeout.
func TestVanishedServer(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pg := newPostgres(t, servers.PostgresOptions{Version: 18})
		v := newVanisher(t, pg.Addr())
		_, port, _ := net.SplitHostPort(v.addr)
		aws := startAWS(t, awsstub.Options{})
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: oneDatabase(pg, aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword)),
			"port: "+port, "limits: {server_timeout: 2s}")}, appPassword)
		busy, idle := connect(t, w.Addr(t, "main"), "postgres"), connect(t, w.Addr(t, "main"), "postgres")
		heard := make(chan error, 1)
		go func() {
			_, err := busy.Exec(context.WithoutCancel(t.Context()), "SELECT pg_sleep(600)")
			heard <- err
		}()
		sidecar.Await(t, "the statement", func() bool {
			return ask(t, idle, "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'") == "1"
		})
		v.vanish(t)
		for name, err := range map[string]error{"busy": <-heard, "idle": nextMessage(idle.PgConn().Conn())} {
			if e, ok := errors.AsType[*pgconn.PgError](err); name == "busy" && (!ok || !strings.Contains(e.Message, "nothing has come from the database")) || err == nil {
				t.Errorf("%s client: %v", name, err)
			}
		}
	})
	t.Run("mysql", func(t *testing.T) {
		t.Parallel()
		my := newMySQL(t, servers.MySQLOptions{Flavor: "mysql"})
		v := newVanisher(t, my.Addr())
		_, port, _ := net.SplitHostPort(v.addr)
		aws := startAWS(t, awsstub.Options{})
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: mySQLDatabase(my, aws.CreateSecret("prod/main", mySQLSecret(my, "app", appPassword)),
			"port: "+port, "limits: {server_timeout: 2s}")}, appPassword)
		db, err := sql.Open("mysql", "anybody@tcp("+w.Addr(t, "main")+")/")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan error, 1)
		go func() {
			_, err := conn.ExecContext(context.WithoutCancel(t.Context()), "DO SLEEP(600)")
			heard <- err
		}()
		v.vanish(t)
		if err := <-heard; err == nil || !strings.Contains(err.Error(), "nothing has come from the database") {
			t.Errorf("client in a statement: %v", err)
		}
	})
}

// nextMessage waits for what the server says of its own accord: an error, or the end.
func nextMessage(conn net.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	b, err := io.ReadAll(conn)
	if err == nil && len(b) == 0 {
		err = io.EOF
	}
	if err == nil {
		err = errors.New(string(b))
	}
	return err
}
