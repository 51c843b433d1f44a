package integration_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// What pg_isready says by its exit status (manual, "pg_isready").
const (
	accepting = iota
	rejecting
	noResponse
)

// hostState is the first server of a list, in a state that clients meet.
type hostState struct {
	name   string
	port   int // of the server
	caFile string
	more   []string // of the database's configuration

	goesOn           bool // clients end at the second server
	ready            int  // what pg_isready says through credproxy
	readyDirect      int
	goesOnDirect     bool   // libpq does
	attrs, attrsJDBC string // what clients ask of a server
}

// hostStates starts a server in each state. b is a server that runs.
func hostStates(t *testing.T, ca *pki.CA, b *servers.Postgres) []hostState {
	t.Helper()
	start := func(o servers.PostgresOptions) *servers.Postgres {
		o.Version, o.CA = 15, ca
		return newPostgres(t, o)
	}
	running, stopping, paused, readOnly := start(servers.PostgresOptions{}), start(servers.PostgresOptions{}), start(servers.PostgresOptions{}), start(servers.PostgresOptions{})
	starting := servers.RunPostgres(t, servers.PostgresOptions{Version: 15, CA: ca, Starting: true})
	closed := freePort(t)

	if err := readOnly.Exec(t.Context(), "ALTER ROLE app SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	last, err := pgx.Connect(t.Context(), stopping.URL("app", appPassword, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = last.Close(context.Background()) })
	signalPostmaster(t, stopping, syscall.SIGTERM) // it waits for the session
	sidecar.Await(t, "a server that shuts down", func() bool {
		conn, err := pgx.Connect(t.Context(), stopping.URL("app", appPassword, "postgres"))
		if err == nil {
			_ = conn.Close(t.Context())
		}
		return hasCode(err, "57P03")
	})
	signalPostmaster(t, paused, syscall.SIGSTOP)
	t.Cleanup(func() { signalPostmaster(t, paused, syscall.SIGCONT) })

	wrong := caFile(t, t.TempDir(), "wrong", newCA(t))
	return []hostState{
		{name: "running", port: running.Port, caFile: b.CAFile, ready: accepting, readyDirect: accepting},
		{name: "read-only", port: readOnly.Port, caFile: b.CAFile, attrs: "read-write", attrsJDBC: "primary",
			goesOn: true, goesOnDirect: true, ready: accepting, readyDirect: accepting},
		// Directly pg_isready is told by the kernel that nobody listens.
		{name: "stopped", port: closed, caFile: b.CAFile, goesOn: true, goesOnDirect: true, ready: rejecting, readyDirect: noResponse},
		{name: "starting", port: starting.Port, caFile: b.CAFile, goesOn: true, goesOnDirect: true, ready: rejecting, readyDirect: rejecting},
		{name: "shutting down", port: stopping.Port, caFile: b.CAFile, goesOn: true, goesOnDirect: true, ready: rejecting, readyDirect: rejecting},
		{name: "paused", port: paused.Port, caFile: b.CAFile, more: []string{"limits: {login_timeout: 2s}"},
			goesOn: true, goesOnDirect: true, ready: rejecting, readyDirect: noResponse},
		// Directly libpq stays with a server whose certificate is wrong.
		{name: "wrong certificate", port: running.Port, caFile: wrong, goesOn: true, ready: rejecting, readyDirect: noResponse},
	}
}

// TestPostgresMultiHost has clients with a list of two servers, of which the first is in
// each state, behind credproxy and directly: pg_isready, and where libpq, pgx and pgjdbc
// end up.
func TestPostgresMultiHost(t *testing.T) {
	ca := newCA(t)
	b := newPostgres(t, servers.PostgresOptions{Version: 18, CA: ca})
	states := hostStates(t, ca, b)
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/app", fmt.Sprintf(`{"username": "app", "password": %q}`, appPassword))
	entry := func(name string, port int, caFile string, more ...string) string {
		return smDatabase(strings.ReplaceAll(name, " ", "-"), arn, append(more, "host: localhost", fmt.Sprintf("port: %d", port), "tls: "+tlsYAML("", caFile))...)
	}
	config := "databases:\n" + entry("b", b.Port, b.CAFile)
	for _, s := range states {
		config += entry(s.name, s.port, s.caFile, s.more...)
	}
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: config}, appPassword)
	portB := portOf(t, w.Addr(t, "b"))
	for _, s := range states {
		t.Run(s.name, func(t *testing.T) {
			first := portOf(t, w.Addr(t, strings.ReplaceAll(s.name, " ", "-")))
			attrs := ""
			if s.attrs != "" {
				attrs = " target_session_attrs=" + s.attrs
			}
			want, wantDirect := s.port, s.port
			if s.goesOn {
				want = b.Port
			}
			if s.goesOnDirect {
				wantDirect = b.Port
			}
			through := fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=anybody dbname=postgres connect_timeout=20%s", first, portB, attrs)
			direct := fmt.Sprintf("host=localhost,localhost port=%d,%d user=app password=%s dbname=postgres connect_timeout=3 sslmode=verify-full sslrootcert=%s%s",
				s.port, b.Port, appPassword, s.caFile, attrs)
			for _, version := range servers.PostgresVersions() {
				if got := psqlPort(t, version, through); got != want {
					t.Errorf("psql %d ends up at %d, want %d", version, got, want)
				}
				if got := isReady(t, version, fmt.Sprintf("host=127.0.0.1 port=%d", first)); got != s.ready {
					t.Errorf("pg_isready %d: %d, want %d", version, got, s.ready)
				}
				if got := isReady(t, version, fmt.Sprintf("host=localhost port=%d sslmode=verify-full sslrootcert=%s", s.port, s.caFile)); got != s.readyDirect {
					t.Errorf("pg_isready %d, directly: %d, want %d", version, got, s.readyDirect)
				}
			}
			if s.goesOnDirect || !s.goesOn {
				if got := psqlPort(t, 18, direct); got != wantDirect {
					t.Errorf("psql ends up at %d directly, want %d", got, wantDirect)
				}
			}
			conn, err := pgx.Connect(t.Context(), through)
			if err != nil {
				t.Fatal(err)
			}
			if got := ask(t, conn, "SELECT inet_server_port()"); got != strconv.Itoa(want) {
				t.Errorf("pgx ends up at %s, want %d", got, want)
			}
			_ = conn.Close(t.Context())
		})
	}
	t.Run("pgjdbc", func(t *testing.T) {
		args := []string{"-XX:TieredStopAtLevel=1", "-cp", pgJDBC, "MultiHost.java"}
		var want string
		for _, s := range states {
			url := fmt.Sprintf("jdbc:postgresql://127.0.0.1:%d,127.0.0.1:%d/postgres?user=anybody", portOf(t, w.Addr(t, strings.ReplaceAll(s.name, " ", "-"))), portB)
			if s.attrsJDBC != "" {
				url += "&targetServerType=" + s.attrsJDBC
			}
			args = append(args, url)
			if s.goesOn {
				want += fmt.Sprintln(b.Port)
			} else {
				want += fmt.Sprintln(s.port)
			}
		}
		cmd := exec.CommandContext(t.Context(), "java", args...)
		cmd.Dir = filepath.Join("testdata", "drivers")
		if got := output(t, cmd); got != want {
			t.Errorf("ends up at\n%swant\n%s", got, want)
		}
	})
}

// psqlPort returns the port of the server that conninfo leads to.
func psqlPort(t *testing.T, version int, conninfo string) int {
	t.Helper()
	got, err := strconv.Atoi(psql(t, version, conninfo, "SELECT inet_server_port();"))
	if err != nil {
		t.Error(err)
	}
	return got
}

// isReady returns the exit status of pg_isready.
func isReady(t *testing.T, version int, conninfo string) int {
	t.Helper()
	cmd := program(t, version, "pg_isready", "--timeout=4", "-d", conninfo)
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return accepting
}

func portOf(t *testing.T, addr string) int {
	t.Helper()
	_, text, _ := strings.Cut(addr, ":")
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
