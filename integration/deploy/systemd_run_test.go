package deploy_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/servers"
)

// TestSystemdRuns boots systemd, installs the units and lives with them.
//
// Where no systemd can be booted it says so and is content: that needs root,
// namespaces, overlayfs and a cgroup of its own, which many containers do not give.
// What the units need of credproxy holds there too: TestNotify and TestSocketActivation
// of the integration tests give it the sockets that systemd would, TestSystemdUnit and
// TestInstallScript look at the files.
func TestSystemdRuns(t *testing.T) {
	m, err := boot(t)
	if err != nil {
		t.Log("no systemd can be booted here:", err)
		return
	}
	s := install(t, m)
	s.startsUnprivileged(t)
	s.logsIn(t)
	s.tellsUsersApart(t)
	s.reloads(t)
	s.restartsUnderLoad(t)
	s.upgrades(t)
	s.survivesAHang(t)
	s.stopsAndGoes(t)
}

// startsUnprivileged looks at what has started: all, or else it would not be active.
func (s *installed) startsUnprivileged(t *testing.T) {
	if _, err := os.Stat(filepath.Join(s.root, "run/credproxy/.s.PGSQL.5432")); err != nil {
		t.Errorf("after the start: %v", err)
	}
	if got := strings.TrimSpace(s.must(t, "stat", "--format=%a", "/run/credproxy/control.sock")); got != "600" {
		t.Errorf("the control socket has mode %s", got)
	}
	if out, err := s.run(t, "/usr/bin/credproxy", "break-glass", "-c", "/etc/credproxy/credproxy.yaml", "--end"); err == nil || !strings.Contains(out, "no database has an emergency credential") {
		t.Errorf("root at the control socket: %v: %s", err, out)
	}
	if got := s.show(t, "ActiveState"); got != "active" {
		t.Errorf("the service is %s", got)
	}
	if got, want := backlog(t, "/run/credproxy/.s"), kernelLimit(t); got != want {
		t.Errorf("%s clients may wait at the unix socket, the kernel allows %s", got, want)
	}
	process := s.must(t, "cat", "/proc/"+s.show(t, "MainPID")+"/status")
	for _, pattern := range []string{
		`\nUid:\t(6\d{4})\t(6\d{4})\t`, `\nCapPrm:\t0+\n`, `\nCapEff:\t0+\n`, `\nCapBnd:\t0+\n`, `\nCapAmb:\t0+\n`, `\nNoNewPrivs:\t1\n`, `\nSeccomp:\t2\n`,
	} {
		if !regexp.MustCompile(pattern).MatchString(process) {
			t.Errorf("not %q:\n%s", pattern, process)
		}
	}
}

// logsIn uses both credentials, from AWS and from a file that only root can read.
func (s *installed) logsIn(t *testing.T) {
	if user, err := s.login(t.Context()); err != nil || user != "app" {
		t.Errorf("%q, %v", user, err)
	}
	if out, err := s.psql(t, allowed, clients, "/run/credproxy", "5432"); err != nil || out != "reporter" {
		t.Errorf("through the unix socket, in the group: %v: %s", err, out)
	}
	if out, err := s.psql(t, allowed, allowed, "/run/credproxy", "5432"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("through the unix socket, not in the group: %v: %s", err, out)
	}
}

func (s *installed) tellsUsersApart(t *testing.T) {
	host, port, _ := net.SplitHostPort(s.addr)
	if out, err := s.psql(t, allowed, allowed, host, port); err != nil || out != "app" {
		t.Errorf("an allowed user: %v: %s", err, out)
	}
	if out, err := s.psql(t, foreign, foreign, host, port); err == nil || !strings.Contains(out, "credproxy: the user with id 23002 may not connect here") {
		t.Errorf("a foreign user: %v: %s", err, out)
	}
}

// reloads lets the foreign user in. credproxy looks at the file by itself, too: the log
// tells what made it read.
func (s *installed) reloads(t *testing.T) {
	s.configure(t, 0, allowed, foreign)
	s.must(t, "systemctl", "reload", service)
	host, port, _ := net.SplitHostPort(s.addr)
	var out, journal string
	for deadline := time.Now().Add(30 * time.Second); ; {
		out, _ = s.psql(t, foreign, foreign, host, port)
		journal = s.must(t, "journalctl", "--unit="+service)
		if out == "app" && strings.Contains(journal, `"because":"SIGHUP"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a user who was added: %s\n%s", out, journal)
		}
	}
	version, _, _ := strings.Cut(s.must(t, "systemctl", "--version"), "\n")
	t.Log(version, "shows", s.await(t, "StatusText", func(text string) bool { return strings.HasPrefix(text, "Ready: databases: 2, ") }))
}

// restartsUnderLoad restarts credproxy while clients connect, of whom none is refused.
func (s *installed) restartsUnderLoad(t *testing.T) {
	const atLeast, restarts = 1000, 5
	var connects, logins atomic.Int64
	var load sync.WaitGroup
	done := make(chan struct{})
	repeat := func(n *atomic.Int64, atLeast int64, client func() error) {
		for n.Load() < atLeast || !closed(done) {
			if err := client(); err != nil {
				t.Errorf("client %d: %v", n.Load(), err)
				return
			}
			n.Add(1)
		}
	}
	load.Go(func() { repeat(&connects, atLeast, func() error { return servers.AskTLS(s.addr) }) })
	load.Go(func() {
		repeat(&logins, 0, func() error {
			_, err := s.login(t.Context())
			return err
		})
	})
	for range restarts {
		before := connects.Load()
		if out, err := s.run(t, "systemctl", "restart", service); err != nil {
			t.Errorf("restart: %v: %s", err, out)
		}
		for deadline := time.Now().Add(20 * time.Second); connects.Load() < before+atLeast/restarts && !t.Failed() && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
	}
	close(done)
	load.Wait()
	t.Logf("%d restarts, %d connects, %d logins", restarts, connects.Load(), logins.Load())
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// upgrades installs anew, which puts a new process in the place of the one that runs. A session goes
// on, and systemd looks after the new process as it did after the old one.
func (s *installed) upgrades(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	session, err := pgx.Connect(ctx, "postgres://anybody@"+s.addr+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(ctx)
	before := s.show(t, "MainPID")
	if said := s.must(t, "/run/checkout/systemd/install.sh", "install", "/run/checkout/credproxy"); !strings.Contains(said, "serves now; sessions left with the old one: 1") {
		t.Errorf("install.sh says %s", said)
	}
	now := s.await(t, "MainPID", func(pid string) bool { return pid != before })
	if state, restarts := s.show(t, "ActiveState"), s.show(t, "NRestarts"); state != "active" || restarts != "0" {
		t.Errorf("it is %s after %s restarts", state, restarts)
	}
	if parent := s.must(t, "sed", "-n", `s/^PPid:\t//p`, "/proc/"+now+"/status"); parent != "1" {
		t.Errorf("the new process is a child of %s", parent)
	}
	s.await(t, "StatusText", func(text string) bool { return strings.HasPrefix(text, "Ready: databases: 2, sessions: 0") })
	var user string
	if err := session.QueryRow(ctx, "SELECT current_user").Scan(&user); err != nil || user != "app" {
		t.Errorf("the session from before: %q, %v", user, err)
	}
	s.logsIn(t)
	if err := session.Close(ctx); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.run(t, "test", "-d", "/proc/"+before); err != nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the old process does not end with its last session")
		}
	}
	if got := s.show(t, "MainPID"); got != now {
		t.Errorf("with the old process the main one changed, to %s", got)
	}
	s.must(t, "kill", "-KILL", now) // systemd is its parent, and need not wait for the watchdog
	s.await(t, "NRestarts", func(n string) bool { return n != "0" })
	s.await(t, "ActiveState", func(state string) bool { return state == "active" })
	s.must(t, "systemctl", "reset-failed", service)
}

// survivesAHang stops the process as if it hung, and waits for the watchdog.
func (s *installed) survivesAHang(t *testing.T) {
	const dropIn = units + service + ".d/watchdog.conf"
	s.write(t, dropIn, "[Service]\nWatchdogSec=2\n", 0o644)
	s.must(t, "systemctl", "daemon-reload")
	s.must(t, "systemctl", "restart", service)
	before := s.show(t, "MainPID")
	s.must(t, "systemctl", "kill", "--kill-whom=main", "--signal=STOP", service)
	s.await(t, "NRestarts", func(n string) bool { return n != "0" })
	s.await(t, "ActiveState", func(state string) bool { return state == "active" })
	if now := s.show(t, "MainPID"); now == before {
		t.Errorf("still process %s", now)
	}
	if journal := s.must(t, "journalctl", "--unit="+service); !strings.Contains(journal, "Watchdog timeout") {
		t.Errorf("no word of the watchdog:\n%s", journal)
	}
	// A busy machine may set it off again.
	var user string
	var err error
	for deadline := time.Now().Add(30 * time.Second); user != "app" && time.Now().Before(deadline); {
		user, err = s.login(t.Context())
	}
	if user != "app" {
		t.Errorf("after the restart: %q, %v", user, err)
	}
	s.must(t, "rm", dropIn)
	s.must(t, "systemctl", "daemon-reload")
	s.must(t, "systemctl", "restart", service)
}

// stopsAndGoes stops the service, has a client start it again, and removes it while it runs.
func (s *installed) stopsAndGoes(t *testing.T) {
	s.must(t, "systemctl", "stop", service)
	if result := s.show(t, "Result"); result != "success" {
		t.Errorf("stopped with the result %s", result)
	}
	if user, err := s.login(t.Context()); err != nil || user != "app" {
		t.Errorf("a client of the socket alone: %q, %v", user, err)
	}
	if journal := s.must(t, "journalctl"); strings.Contains(journal, password) {
		t.Error("the password is in the journal")
	}
	const script = "/run/checkout/systemd/install.sh"
	s.must(t, script, "remove")
	for _, unit := range []string{service, "credproxy.socket"} {
		if state, _ := s.run(t, "systemctl", "is-active", unit); state != "inactive" {
			t.Errorf("%s is %s", unit, state)
		}
	}
	if conn, err := net.Dial("tcp", s.addr); err == nil {
		_ = conn.Close()
		t.Error("somebody listens after the removal")
	}
	s.must(t, script, "purge")
	left := s.must(t, "sh", "-c", "ls -d /usr/bin/credproxy /etc/credproxy /etc/systemd/system/credproxy* /etc/systemd/system/*.wants/credproxy* "+
		"/run/credproxy /run/credentials/credproxy* 2>/dev/null || :")
	if want := "/etc/credproxy\n/etc/systemd/system/credproxy.service.d\n/etc/systemd/system/credproxy.socket.d"; left != want { // the operator's files
		t.Errorf("left is\n%s\nwant\n%s", left, want)
	}
}
