package integration_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// socketUnit listens as a socket unit of systemd does, until the test's end.
func socketUnit(t *testing.T, name, network, address string) (sidecar.Socket, string) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close(); _ = f.Close() })
	return sidecar.Socket{Name: name, File: f}, ln.Addr().String()
}

// TestSocketActivation restarts credproxy while clients connect all the time, to
// sockets that outlive it: nobody is refused, and no query fails.
func TestSocketActivation(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	my := newMySQLStand(t, servers.MySQLOptions{Flavor: "mysql"}, "")
	secret := my.aws.CreateSecret("prod/pg", secretJSON(pg, "app", appPassword))
	byName, tcp := socketUnit(t, "orders", "tcp", "127.0.0.1:0")
	byAddress, path := socketUnit(t, "whatever", "unix", filepath.Join(t.TempDir(), ".s.PGSQL.5432"))
	mysqlSocket, mysqlAddr := socketUnit(t, "main", "tcp", "127.0.0.1:0")
	const free = "    listen: 127.0.0.1:0\n"
	yaml := strings.Replace(mySQLDatabase(my.my, my.arn), free, "", 1) +
		strings.Replace(smDatabase("orders", secret, "tls: "+tlsYAML("", pg.CAFile)), free, "", 1) +
		strings.Replace(smDatabase("local", secret, "tls: "+tlsYAML("", pg.CAFile)), "127.0.0.1:0", "\"unix:"+path+"\"", 1)
	start := func() *watched {
		return watch(t, sidecar.Options{Config: yaml, Env: my.aws.Env(), Sockets: []sidecar.Socket{byName, byAddress, mysqlSocket}}, appPassword)
	}
	w := start()
	if got := w.Addr(t, "orders"); got != tcp {
		t.Fatalf("orders listens on %s, not on the socket that has its name, %s", got, tcp)
	}
	_, port, _ := net.SplitHostPort(tcp)
	var load sync.WaitGroup
	for _, args := range [][]string{
		{"-T", "5", "-C", "-h", "127.0.0.1", "-p", port}, {"-T", "5", "-C", "-h", filepath.Dir(path)},
		{"-T", "1", "-h", "127.0.0.1", "-p", port}, // the first restart waits for it
	} {
		script := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(script, []byte("SELECT 1;\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		bench := program(t, 15, "pgbench", append(args, "-n", "-U", "anybody", "-f", script, "postgres")...)
		load.Go(func() {
			if out, err := bench.CombinedOutput(); err != nil || !strings.Contains(string(out), "number of failed transactions: 0") {
				t.Errorf("%v: %v\n%s", args, err, out)
			}
		})
	}
	config := my.config()
	config.Addr = mysqlAddr
	queries, ctx := my.open(t, config), t.Context()
	queries.SetConnMaxLifetime(50 * time.Millisecond)
	end := time.Now().Add(5 * time.Second)
	load.Go(func() {
		for time.Now().Before(end) {
			if _, err := queries.ExecContext(ctx, "DO 1"); err != nil {
				t.Errorf("MySQL: %v", err)
				return
			}
		}
	})
	load.Go(func() {
		for n := range 1000 {
			if err := servers.AskTLS(tcp); err != nil {
				t.Errorf("connect %d: %v", n, err)
				return
			}
		}
	})
	restarts := 0
	for ; time.Now().Before(end); restarts++ {
		w.Signal(syscall.SIGTERM)
		if code := w.Wait(); code != 0 {
			t.Errorf("status %d", code)
		}
		w = start()
		w.Addr(t, "orders")
		time.Sleep(300 * time.Millisecond)
	}
	load.Wait()
	t.Logf("%d restarts", restarts)
}

// TestSocketActivationDrain holds a drain up for long: a cancel gets in through the socket
// of systemd, and whoever wants a session hears that there is none, until the last one
// has ended. Then clients wait for the next process.
func TestSocketActivationDrain(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	secret := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	socket, addr := socketUnit(t, "main", "tcp", "127.0.0.1:0")
	config := strings.Replace(smDatabase("main", secret, "tls: "+tlsYAML("", pg.CAFile)), "    listen: 127.0.0.1:0\n", "", 1)
	start := func() *watched {
		return watch(t, sidecar.Options{Config: "databases:\n" + config, Env: aws.Env(), Sockets: []sidecar.Socket{socket}}, appPassword)
	}
	w := start()
	conn := connect(t, w.Addr(t, "main"), "postgres")
	done := query(t, pg, conn, "SELECT pg_sleep(600)")
	w.Signal(syscall.SIGTERM)
	sidecar.Await(t, "a session to be refused", func() bool { return hasCode(w.logIn(t.Context(), addr, "postgres"), "57P03") })
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; !hasCode(err, "57014") {
		t.Errorf("the cancelled query: %v", err)
	}
	_ = conn.Close(t.Context())
	if code := w.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
	waits := make(chan error, 1)
	go func() { waits <- w.logIn(t.Context(), addr, "postgres") }()
	start()
	if err := <-waits; err != nil {
		t.Errorf("a client that waited for the next process: %v", err)
	}
}

// TestSocketOfNobody: a socket that no database has is a mistake.
func TestSocketOfNobody(t *testing.T) {
	stray, addr := socketUnit(t, "stray", "tcp", "127.0.0.1:0")
	aws := startAWS(t, awsstub.Options{})
	p, err := sidecar.Start(sidecar.Options{Binary: binary, Env: aws.Env(), Sockets: []sidecar.Socket{stray},
		Config: "databases:\n" + smDatabase("main", "prod/main", "host: localhost")})
	if err != nil {
		t.Fatal(err)
	}
	if code := p.Wait(); code != 2 || !containsAll(p.Log(), []string{"socket " + addr + " (stray) from systemd is no database's", "one of main"}) {
		t.Errorf("status %d: %s", code, p.Log())
	}
}

// notifySocket listens where systemd would. hears waits for a message with want.
func notifySocket(t *testing.T) (env string, hears func(want string) string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return "NOTIFY_SOCKET=" + path, func(want string) string {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		for b := make([]byte, 4096); ; {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if strings.Contains(string(b[:n]), want) {
				return string(b[:n])
			}
		}
	}
}

func TestNotify(t *testing.T) {
	socket, hears := notifySocket(t)
	p := sidecar.Run(t, sidecar.Options{
		Binary: binary, Env: []string{socket, "WATCHDOG_USEC=200000", "USERNAME=app", "PASSWORD=planted-password"},
		Config: "databases:\n" + database("main", "env: {username: USERNAME, password: PASSWORD}", "engine: postgres", "host: localhost"),
	}, "planted-password")
	if got := hears("READY=1"); !containsAll(got, []string{"STATUS=Not ready: main: ", "; databases: 1, sessions: 0"}) {
		t.Errorf("%q", got)
	}
	if got := hears("STATUS=Not ready: main: the database has not accepted the credential yet"); !containsAll(got, []string{"databases: 1, sessions: 0", "WATCHDOG=1"}) {
		t.Errorf("%q", got)
	}
	hears("WATCHDOG=1")
	p.Signal(syscall.SIGHUP)
	if got := hears("RELOADING=1"); !strings.Contains(got, "MONOTONIC_USEC=") {
		t.Errorf("%q", got)
	}
	hears("READY=1")
	p.Signal(syscall.SIGTERM)
	hears("STOPPING=1")
	p.Wait() // a second signal would end it at once
}

// TestNotifyWithoutASecret: systemd ends what is not ready after TimeoutStartSec=. One
// database without a secret must not do that to the others.
func TestNotifyWithoutASecret(t *testing.T) {
	t.Parallel()
	socket, hears := notifySocket(t)
	p := sidecar.Run(t, sidecar.Options{
		Binary: binary, Env: []string{socket, "USERNAME=app", "PASSWORD=planted-password"},
		Config: "databases:\n" + database("main", "env: {username: USERNAME, password: PASSWORD}", "engine: postgres", "host: localhost") +
			database("other", "file: {path: /nowhere}"),
	}, "planted-password")
	if got := hears("READY=1"); !containsAll(got, []string{"STATUS=Not ready: main: ", ", and 1 more; databases: 2, "}) {
		t.Errorf("%q", got)
	}
	if err := servers.AskTLS(p.Addr(t, "main")); err != nil {
		t.Error(err)
	}
}
