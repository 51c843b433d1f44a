package integration_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestServerErrors shows that what the database says reaches the client as it
// came, and that the listener works when the cause is gone.
func TestServerErrors(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	if err := pg.CreateRole(t.Context(), "few", appPassword, "CONNECTION LIMIT 0"); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"CREATE DATABASE closed", "REVOKE CONNECT ON DATABASE closed FROM PUBLIC"} {
		if err := pg.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	aws := startAWS(t, awsstub.Options{})
	tls := "tls: " + tlsYAML("", pg.CAFile)
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
		smDatabase("app", aws.CreateSecret("prod/app", secretJSON(pg, "app", appPassword)), tls) +
		smDatabase("few", aws.CreateSecret("prod/few", secretJSON(pg, "few", appPassword)), tls),
	}, appPassword)
	for _, tt := range []struct{ name, database, code, message, repair string }{
		{"app", "missing", "3D000", `database "missing" does not exist`, "CREATE DATABASE missing"},
		{"app", "closed", "42501", `permission denied for database "closed"`, "GRANT CONNECT ON DATABASE closed TO app"},
		{"few", "postgres", "53300", `too many connections for role "few"`, "ALTER ROLE few CONNECTION LIMIT -1"},
	} {
		t.Run(tt.code, func(t *testing.T) {
			if e := w.refused(t, tt.name, tt.database); e.Code != tt.code || e.Message != tt.message || e.Routine == "" {
				t.Errorf("client is told %+v, want the server's own words: %s", *e, tt.message)
			}
			w.failure(t, tt.name, `"result":"upstream_refused"`, tt.code)
			if err := pg.Exec(t.Context(), tt.repair); err != nil {
				t.Fatal(err)
			}
			if err := w.logIn(t.Context(), w.Addr(t, tt.name), tt.database); err != nil {
				t.Errorf("after the repair: %v", err)
			}
		})
	}
	if n := strings.Count(pg.Log(), "password authentication failed"); n != 0 {
		t.Errorf("%d logins with a wrong password: an error was taken for the credential's", n)
	}
}

// TestServerFullAndStopping shows a server without free slots, then one that
// shuts down while a session goes on, then one that is gone.
func TestServerFullAndStopping(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15, Settings: map[string]string{
		"max_connections": "2", "superuser_reserved_connections": "1", "max_wal_senders": "0", "wal_level": "replica",
	}})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("main", arn, "tls: "+tlsYAML("", pg.CAFile))}, appPassword)

	first := connect(t, w.Addr(t, "main"), "postgres")
	// While credproxy's own login holds the slot of superusers for a moment, the
	// server says "too many clients already" instead.
	full := func() bool {
		err := w.logIn(t.Context(), w.Addr(t, "main"), "postgres")
		return hasCode(err, "53300") && strings.Contains(err.Error(), "remaining connection slots are reserved")
	}
	if !eventually(10*time.Second, full) {
		t.Error("client is not told the server's word that it is full")
	}
	_ = first.Close(t.Context())
	w.recovers(t, "main", "postgres")

	last := connect(t, w.Addr(t, "main"), "postgres")
	signalPostmaster(t, pg, syscall.SIGTERM) // a smart shutdown waits for sessions
	stopping := func() bool {
		err := w.logIn(t.Context(), w.Addr(t, "main"), "postgres")
		return hasCode(err, "57P03") && strings.Contains(err.Error(), "the database system is shutting down")
	}
	if !eventually(10*time.Second, stopping) {
		t.Error("clients are not told that the server shuts down")
	}
	if got := ask(t, last, "SELECT 1"); got != "1" {
		t.Errorf("the session that the server waits for answers %s", got)
	}
	_ = last.Close(t.Context())
	gone := func() bool {
		err := w.logIn(t.Context(), w.Addr(t, "main"), "postgres")
		return hasCode(err, "57P03") && strings.Contains(err.Error(), "refuses connections")
	}
	if !eventually(10*time.Second, gone) {
		t.Fatal("clients are not told that the server is gone")
	}
	w.ours(t, w.refused(t, "main", "postgres"), "57P03", "refuses connections")
}

// signalPostmaster signals the server itself, not one of its sessions.
func signalPostmaster(t *testing.T, pg *servers.Postgres, s syscall.Signal) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(pg.SocketDir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// TestUnreachable shows the ways in which a database cannot be reached: nobody
// listens, nobody answers at all, somebody accepts and is silent, no such name.
func TestUnreachable(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))

	closed := freePort(t)
	full := newFullListener(t)
	silent := listenLocal(t)
	db := func(name, host string, port int, more ...string) string {
		return smDatabase(name, arn, append(more, "host: "+host, fmt.Sprintf("port: %d", port), "tls: "+tlsYAML("", pg.CAFile))...)
	}
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
		db("closed", "127.0.0.1", closed) + db("full", "127.0.0.1", full.port(), "limits: {dial_timeout: 1s}") +
		db("silent", "127.0.0.1", port(silent), "limits: {login_timeout: 3s}") + db("nowhere", "db.invalid", 5432),
	}, appPassword)
	for _, tt := range []struct {
		name, message string
		logged        []string
		repair        func(t *testing.T)
	}{
		{"closed", "refuses connections", []string{`"result":"unreachable"`, "connection refused"}, func(t *testing.T) {
			ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(closed)))
			if err != nil {
				t.Fatal(err)
			}
			startTap(t, ln, pg.Addr())
		}},
		{"full", "does not answer", []string{`"result":"unreachable"`, "i/o timeout"}, func(t *testing.T) {
			startTap(t, full.open(t), pg.Addr())
		}},
		{"silent", "the login took too long", []string{`"result":"login_timeout"`, "asking for TLS"}, func(t *testing.T) {
			startTap(t, silent, pg.Addr())
		}},
		{"nowhere", `host "db.invalid"`, []string{`"result":"unreachable"`, "lookup db.invalid"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.ours(t, w.refused(t, tt.name, "postgres"), "57P03", tt.message)
			w.failure(t, tt.name, tt.logged...)
			if tt.repair != nil {
				tt.repair(t)
				w.recovers(t, tt.name, "postgres")
				awaitMetric(t, w.Proxy, 1, "credproxy_upstream_up", fmt.Sprintf("database=%q", tt.name))
			}
		})
	}
	if up, err := w.Metric("credproxy_upstream_up", `database="nowhere"`); err != nil || up != 0 {
		t.Errorf("upstream_up of a name without address is %v, %v", up, err)
	}
}

func port(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// fullListener is a port where connections are neither accepted nor refused: the
// queue of its listener is full, so the kernel drops what arrives.
type fullListener struct {
	file *os.File
	at   *syscall.SockaddrInet4
	in   []net.Conn
}

func newFullListener(t *testing.T) *fullListener {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &fullListener{file: os.NewFile(uintptr(fd), "full listener")}
	t.Cleanup(func() { l.close() })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	l.at = at.(*syscall.SockaddrInet4)
	for range 16 {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", l.port()), 300*time.Millisecond)
		if err != nil {
			return l
		}
		l.in = append(l.in, conn)
	}
	t.Fatal("the queue of a listener does not get full")
	return nil
}

func (l *fullListener) port() int { return l.at.Port }

func (l *fullListener) close() {
	for _, conn := range l.in {
		_ = conn.Close()
	}
	_ = l.file.Close()
}

// open makes room: who is in the queue leaves it, and others can come.
func (l *fullListener) open(t *testing.T) net.Listener {
	t.Helper()
	if err := syscall.Listen(int(l.file.Fd()), 64); err != nil {
		t.Fatal(err)
	}
	ln, err := net.FileListener(l.file)
	if err != nil {
		t.Fatal(err)
	}
	l.close()
	return ln
}
