package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
)

// Two users of this machine, whom nobody needs to have made, and the group of
// deploy/systemd/examples/sockets.conf.
const (
	allowed = 23001
	foreign = 23002
	clients = 23003
)

const service = "credproxy.service"

// installed is a machine on which credproxy was installed as docs/deploy.md says.
type installed struct {
	*machine
	pg   *servers.Postgres
	arn  string // of the secret
	addr string // of credproxy.socket
}

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
	s.survivesAHang(t)
	s.stopsAndGoes(t)
}

// install runs the install script and adds what an operator would: a configuration,
// the socket unit at a port of his, the examples.
func install(t *testing.T, m *machine) *installed {
	t.Helper()
	aws, err := awsstub.Start(awsstub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(aws.Close)
	s := &installed{machine: m, pg: servers.RunPostgres(t, servers.PostgresOptions{Version: 15}), addr: freeAddr(t)}
	for _, user := range []string{"app", "reporter"} {
		if err := s.pg.CreateRole(t.Context(), user, "never-shown"); err != nil {
			t.Fatal(err)
		}
	}
	s.arn = aws.CreateSecret("prod/orders", s.secret("app"))
	// As from a checkout.
	checkout := filepath.Join(m.root, "run/checkout")
	if out, err := run(t, "sh", "-c", `mkdir "$0" && cp -r deploy/systemd "$1" "$0"`, checkout, binary); err != nil {
		t.Fatal(out)
	}
	m.must(t, "/run/checkout/systemd/install.sh", "install", "/run/checkout/credproxy")
	const units = "/etc/systemd/system/"
	m.must(t, "cp", "/run/checkout/systemd/credproxy.socket", units)
	m.must(t, "cp", "-r", "/run/checkout/systemd/examples", units+"credproxy.service.d")
	m.must(t, "sh", "-c", fmt.Sprintf("echo credproxy-clients:x:%d: >>/etc/group", clients))
	m.write(t, "/etc/credproxy/orders.json", s.secret("reporter"), 0o600)
	ca, err := os.ReadFile(s.pg.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "/etc/credproxy/ca.pem", string(ca), 0o644)
	s.configure(t, 0, allowed)
	m.write(t, units+"credproxy.socket.d/port.conf", "[Socket]\nListenStream=\nListenStream="+s.addr+"\n", 0o644)
	m.write(t, units+service+".d/test.conf", "[Service]\nWatchdogSec=2\nEnvironment="+strings.Join(aws.Env(), " ")+"\n", 0o644)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journal:\n%s", s.must(t, "journalctl", "--no-pager"))
		}
	})
	m.must(t, "systemctl", "daemon-reload")
	m.must(t, "systemctl", "enable", "--now", "credproxy.socket", service)
	return s
}

// secret is the value of one for a user of the database.
func (s *installed) secret(user string) string {
	return fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":%q,"password":"never-shown"}`, s.pg.Host, s.pg.Port, user)
}

// configure writes a configuration: a database at the socket that systemd passes, for
// some users, and one at a unix socket, whose credential systemd passes.
func (s *installed) configure(t *testing.T, uids ...int) {
	t.Helper()
	list, err := json.Marshal(uids)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "/etc/credproxy/credproxy.yaml", fmt.Sprintf(`admin: {listen: ""}
databases:
  - name: orders
    credentials: {secrets_manager: {secret_id: %q}}
    tls: {ca_file: /etc/credproxy/ca.pem}
    access: {uids: %s}
  - name: reports
    listen: "unix:/run/credproxy/.s.PGSQL.5432"
    credentials: {file: {path: /run/credentials/credproxy.service/orders.json}}
    tls: {ca_file: /etc/credproxy/ca.pem}
`, s.arn, list), 0o644)
}

// show is a property of the service.
func (s *installed) show(t *testing.T, property string) string {
	t.Helper()
	return s.must(t, "systemctl", "show", "--value", "--property="+property, service)
}

// await waits until a property of the service is as wanted.
func (s *installed) await(t *testing.T, property string, wanted func(string) bool) string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		value := s.show(t, property)
		if wanted(value) {
			return value
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still %q", property, value)
		}
	}
}

// login logs in at the socket of the unit and returns who the database sees.
func (s *installed) login(ctx context.Context) (user string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, "postgres://anybody@"+s.addr+"/postgres?sslmode=disable")
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	return user, conn.QueryRow(ctx, "SELECT current_user").Scan(&user)
}

// psql asks the same as a user of this machine, through a host (or folder) and port.
func (s *installed) psql(t *testing.T, uid, gid int, host, port string) (string, error) {
	t.Helper()
	return s.run(t, "setpriv", "--reuid="+strconv.Itoa(uid), "--regid="+strconv.Itoa(gid), "--clear-groups",
		servers.PostgresProgram(t, 15, "psql"), "-XAtc", "SELECT current_user",
		fmt.Sprintf("host=%s port=%s user=anybody dbname=postgres connect_timeout=20", host, port))
}

func (s *installed) startsUnprivileged(t *testing.T) {
	if got := s.show(t, "ActiveState"); got != "active" {
		t.Errorf("the service is %s", got)
	}
	status := s.await(t, "StatusText", func(text string) bool { return strings.HasPrefix(text, "Ready: 2 databases") })
	t.Log(s.must(t, "systemctl", "--version"), "\n", status)
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
	s.await(t, "ActiveState", func(state string) bool {
		return state == "active" && strings.Contains(s.must(t, "journalctl", "--unit="+service), `"because":"SIGHUP"`)
	})
	host, port, _ := net.SplitHostPort(s.addr)
	if out, err := s.psql(t, foreign, foreign, host, port); err != nil || out != "app" {
		t.Errorf("a user who was added: %v: %s", err, out)
	}
}

// restartsUnderLoad restarts credproxy while clients connect, of whom none is refused.
func (s *installed) restartsUnderLoad(t *testing.T) {
	const atLeast, restarts = 1000, 5
	var connects, logins, load = 0, 0, sync.WaitGroup{}
	done := make(chan struct{})
	load.Go(func() {
		for ; connects < atLeast || !closed(done); connects++ {
			if err := askTLS(s.addr); err != nil {
				t.Errorf("connect %d: %v", connects, err)
				return
			}
		}
	})
	load.Go(func() {
		for ; !closed(done); logins++ {
			if _, err := s.login(t.Context()); err != nil {
				t.Errorf("login %d: %v", logins, err)
				return
			}
		}
	})
	for range restarts {
		if out, err := s.run(t, "systemctl", "restart", service); err != nil {
			t.Errorf("restart: %v: %s", err, out)
		}
	}
	close(done)
	load.Wait()
	t.Logf("%d restarts, %d connects, %d logins", restarts, connects, logins)
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// askTLS connects, asks for TLS, and is answered.
func askTLS(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

// survivesAHang stops the process as if it hung.
func (s *installed) survivesAHang(t *testing.T) {
	before := s.show(t, "MainPID")
	s.must(t, "systemctl", "kill", "--kill-whom=main", "--signal=STOP", service)
	s.await(t, "NRestarts", func(n string) bool { return n == "1" })
	s.await(t, "ActiveState", func(state string) bool { return state == "active" })
	if now := s.show(t, "MainPID"); now == before {
		t.Errorf("still process %s", now)
	}
	if user, err := s.login(t.Context()); err != nil || user != "app" {
		t.Errorf("after the restart: %q, %v", user, err)
	}
}

// stopsAndGoes stops the service, starts it again, and removes it while it runs.
func (s *installed) stopsAndGoes(t *testing.T) {
	s.must(t, "systemctl", "stop", "credproxy.socket", service)
	if result := s.show(t, "Result"); result != "success" {
		t.Errorf("stopped with the result %s", result)
	}
	s.must(t, "systemctl", "start", "credproxy.socket", service)
	s.must(t, "/run/checkout/systemd/install.sh", "remove")
	if state := s.show(t, "ActiveState"); state != "inactive" {
		t.Errorf("the service is %s", state)
	}
	if conn, err := net.Dial("tcp", s.addr); err == nil {
		_ = conn.Close()
		t.Error("somebody listens after the removal")
	}
	for _, path := range []string{"/usr/bin/credproxy", "/etc/systemd/system/credproxy.service", "/etc/systemd/system/credproxy.socket", "/run/credproxy"} {
		if out, err := s.run(t, "ls", "-d", path); err == nil {
			t.Errorf("left behind: %s", out)
		}
	}
	s.must(t, "test", "-e", "/etc/credproxy/credproxy.yaml")
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
