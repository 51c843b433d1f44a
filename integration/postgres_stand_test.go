package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// pgStand is a PostgreSQL with a credproxy in front of it, which logs in as the
// role app. The role may also log in directly, with appPassword over TLS and
// with none in the clear, so that a test can compare.
type pgStand struct {
	*servers.Postgres
	aws    *awsstub.Server
	arn    string // of the secret
	proxy  *sidecar.Proxy
	addr   string // of the first listener
	other  string // of the second one
	folder string // of the unix socket, the third one
}

// eachPostgres runs f with a stand of every version.
func eachPostgres(t *testing.T, o servers.PostgresOptions, f func(t *testing.T, s *pgStand), more ...string) {
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprintf("server%d", version), func(t *testing.T) {
			o.Version = version
			s := newPGServer(t, o)
			s.run(t, secretJSON(s.Postgres, "app", appPassword), more...)
			f(t, s)
		})
	}
}

// newPGServer is a stand that lacks its credproxy yet.
func newPGServer(t *testing.T, o servers.PostgresOptions) *pgStand {
	t.Helper()
	o.HBA = append(o.HBA, "hostnossl all,replication app all trust")
	s := &pgStand{Postgres: servers.RunPostgres(t, o), aws: startAWS(t, awsstub.Options{})}
	if err := s.CreateRole(t.Context(), "app", appPassword, "CREATEDB REPLICATION"); err != nil {
		t.Fatal(err)
	}
	s.exec(t, "GRANT CREATE ON SCHEMA public TO app")
	return s
}

// run starts credproxy with a secret's value and more YAML of the database.
func (s *pgStand) run(t *testing.T, secret string, more ...string) {
	t.Helper()
	var err error
	if s.folder, err = os.MkdirTemp("/tmp", "credproxy-socket-"); err != nil { // a socket's path is short
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.folder) })
	s.arn = s.aws.CreateSecret("prod/"+filepath.Base(s.folder), secret)
	config := oneDatabase(s.Postgres, s.arn, more...)
	listen := fmt.Sprintf("listen: [127.0.0.1:0, localhost:0, 'unix:%s/.s.PGSQL.5432']", s.folder)
	config = strings.Replace(config, "listen: 127.0.0.1:0", listen, 1)
	s.proxy = sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: s.aws.Env(), Debug: true}, appPassword)
	addrs, err := s.proxy.Addrs("main", 3)
	if err != nil {
		t.Fatal(err)
	}
	s.addr, s.other = addrs[0], addrs[1]
}

func (s *pgStand) exec(t *testing.T, sql string) {
	t.Helper()
	if err := s.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// conninfo is how libpq, pgx and lib/pq are told to connect through credproxy.
func (s *pgStand) conninfo(more ...string) string {
	host, port, _ := net.SplitHostPort(s.addr)
	return fmt.Sprintf("host=%s port=%s user=anybody dbname=postgres %s", host, port, strings.Join(more, " "))
}

// socket is the same through the unix socket.
func (s *pgStand) socket(more ...string) string {
	return fmt.Sprintf("host=%s port=5432 user=anybody dbname=postgres %s", s.folder, strings.Join(more, " "))
}

// direct is the same without credproxy and without TLS.
func (s *pgStand) direct(more ...string) string {
	return fmt.Sprintf("host=%s port=%d user=app dbname=postgres sslmode=disable %s", s.Host, s.Port, strings.Join(more, " "))
}

// pgConnect logs in with pgx.
func pgConnect(t *testing.T, conninfo string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), conninfo)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// ask returns the one value that a query yields, as text.
func ask(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var value any
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return fmt.Sprint(value)
}

// program prepares a program of a PostgreSQL distribution that knows no password
// and dies with the test process.
func program(t *testing.T, version int, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), servers.PostgresProgram(t, version, name), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "PGCONNECT_TIMEOUT=20"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// output runs cmd to its end and returns what it wrote on standard output.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// psqlCommand prepares psql: unaligned, without headings, and without ever
// asking for a password.
func psqlCommand(t *testing.T, version int, conninfo string) *exec.Cmd {
	t.Helper()
	return program(t, version, "psql", "-XAtqw", "-v", "VERBOSITY=sqlstate", "-d", conninfo)
}

// psql runs a script and returns all that psql said, errors included.
func psql(t *testing.T, version int, conninfo, script string) string {
	t.Helper()
	cmd := psqlCommand(t, version, conninfo)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("psql %d: %v\n%s", version, err, out)
	}
	return strings.TrimSpace(string(out))
}

// awaitMetric waits until a metric of credproxy has a value.
func awaitMetric(t *testing.T, p *sidecar.Proxy, want float64, name string, labels ...string) {
	t.Helper()
	sidecar.Await(t, fmt.Sprintf("%s%v = %v", name, labels, want), func() bool {
		got, err := p.Metric(name, labels...)
		return err == nil && got == want
	})
}

// proved waits until credproxy's own first login to each database has been made.
func proved(t *testing.T, p *sidecar.Proxy, names ...string) {
	t.Helper()
	for _, name := range names {
		awaitMetric(t, p, 1, "credproxy_probe_success", fmt.Sprintf("database=%q", name))
	}
}

// between listens where a client or credproxy shall connect to, and gives each
// connection, with one to target, to f, which ends when both may be closed.
func between(t *testing.T, target string, f func(client, server net.Conn)) (addr string) {
	t.Helper()
	return balance(t, func() string { return target }, f)
}

// balance is between for a target that changes.
func balance(t *testing.T, target func() string, f func(client, server net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() { stop(); _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer client.Close()
				server, err := new(net.Dialer).DialContext(ctx, "tcp", target())
				if err != nil {
					return
				}
				defer server.Close()
				defer context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })()
				f(client, server)
			})
		}
	})
	return l.Addr().String()
}

// splice copies both ways until one side ends, and then closes both.
func splice(client, server io.ReadWriteCloser) {
	var both sync.WaitGroup
	for _, way := range [][2]io.ReadWriteCloser{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = client.Close()
			_ = server.Close()
		})
	}
	both.Wait()
}
