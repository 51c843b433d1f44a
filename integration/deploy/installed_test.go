package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

	password = "never-shown"
)

const (
	units   = "/etc/systemd/system/"
	service = "credproxy.service"
)

// installed is a machine on which credproxy was installed as docs/deploy.md says.
type installed struct {
	*machine
	pg   *servers.Postgres
	arn  string // of the secret
	addr string // of credproxy.socket
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
	s := &installed{machine: m, pg: servers.RunPostgres(t, servers.PostgresOptions{Version: 15})}
	for _, user := range []string{"app", "reporter"} {
		if err := s.pg.CreateRole(t.Context(), user, password); err != nil {
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
	m.write(t, units+service+".d/test.conf", "[Service]\nEnvironment="+strings.Join(aws.Env(), " ")+"\n", 0o644)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journal:\n%s", s.must(t, "journalctl", "--no-pager"))
		}
	})
	s.listen(t)
	m.must(t, "systemctl", "enable", "--now", service)
	return s
}

// listen starts the socket unit at a port that is free, in spite of other tests.
func (s *installed) listen(t *testing.T) {
	t.Helper()
	for attempt := 1; ; attempt++ {
		port, err := servers.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		s.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		s.write(t, units+"credproxy.socket.d/port.conf", "[Socket]\nListenStream=\nListenStream="+s.addr+"\n", 0o644)
		s.must(t, "systemctl", "daemon-reload")
		out, err := s.run(t, "systemctl", "enable", "--now", "credproxy.socket")
		if err == nil {
			return
		}
		if attempt == 5 {
			t.Fatal(out)
		}
	}
}

// secret is the value of one for a user of the database.
func (s *installed) secret(user string) string {
	return fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":%q,"password":%q}`, s.pg.Host, s.pg.Port, user, password)
}

// configure writes a configuration: a database at the socket that systemd passes, for
// some users, and one at a unix socket, whose credential systemd passes.
func (s *installed) configure(t *testing.T, uids ...int) {
	t.Helper()
	list, err := json.Marshal(uids)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "/etc/credproxy/credproxy.yaml", fmt.Sprintf(`admin: {listen: "", control: "unix:/run/credproxy/control.sock"}
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
