package upgrade_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

const appPassword = "planted-App-1"

// stand is two servers and a credproxy whose program can be replaced.
type stand struct {
	t       *testing.T
	aws     *awsstub.Server
	pg      *servers.Postgres
	my      *servers.MySQL
	dir     string
	program string // path of the binary that runs
	config  string // path of the configuration
	wrapper string // what runs the program in its place at the start; "": nothing does
	proxy   *sidecar.Proxy
	env     []string
	pids    []int // of all processes that have served, the first first
}

// newStand starts all. global are lines of the configuration before the databases.
func newStand(t *testing.T, global ...string) *stand {
	t.Helper()
	return startStand(t, func(s *stand) { s.configure(s.databases(), global...) })
}

// startStand starts all, with the configuration that prepare writes.
func startStand(t *testing.T, prepare func(*stand)) *stand {
	t.Helper()
	t.Parallel() // much of the time is waited for
	s := &stand{t: t, dir: t.TempDir()}
	must(t, os.Chmod(s.dir, 0o755))
	var err error
	s.aws, err = awsstub.Start(awsstub.Options{})
	must(t, err)
	t.Cleanup(s.aws.Close)
	s.pg = servers.RunPostgres(t, servers.PostgresOptions{Version: 15})
	must(t, s.pg.CreateRole(t.Context(), "app", appPassword))
	s.my = servers.RunMySQL(t, servers.MySQLOptions{Flavor: "mysql"})
	must(t, s.my.CreateUser(t.Context(), "app", appPassword, ""))
	s.aws.CreateSecret("prod/pg", secret("postgres", s.pg.Host, s.pg.Port, "postgres"))
	s.aws.CreateSecret("prod/my", secret("mysql", "localhost", s.my.Port, "app"))
	s.program, s.config = filepath.Join(s.dir, "credproxy"), filepath.Join(s.dir, "credproxy.yaml")
	s.guard()
	s.install("v1.0.0")
	prepare(s)
	s.env = append(s.aws.Env(), "CREDPROXY_ADMIN_CONTROL=unix:"+s.dir+"/control.sock")
	s.proxy = sidecar.Run(t, sidecar.Options{Binary: cmp.Or(s.wrapper, s.program), Args: []string{"-c", s.config}, Env: s.env}, appPassword)
	s.pids = []int{s.proxy.PID()}
	t.Cleanup(s.stop)
	await(t, "database pg that is ready", func() bool {
		return slices.ContainsFunc(s.status().Databases, func(db database) bool { return db.Name == "pg" && db.Ready })
	})
	return s
}

// guard has the stand's processes end with the test's, however that ends: a new process is nobody's
// to kill at the death of its parent.
func (s *stand) guard() {
	s.t.Helper()
	cmd := exec.Command("sh", "-c", `read -r _
		for p in /proc/[0-9]*; do
			[ "$(tr '\\0' '\\n' <"$p/cmdline" 2>/dev/null | head -n 1)" != "$0" ] || kill -KILL "${p#/proc/}"
		done`, s.program)
	stdin, err := cmd.StdinPipe()
	must(s.t, err)
	must(s.t, cmd.Start())
	s.t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
}

func secret(engine, host string, port int, dbname string) string {
	text, _ := json.Marshal(map[string]any{"engine": engine, "host": host, "port": port, "username": "app", "password": appPassword, "dbname": dbname})
	return string(text)
}

// configure writes the configuration.
func (s *stand) configure(databases string, global ...string) {
	s.t.Helper()
	must(s.t, os.WriteFile(s.config, []byte(strings.Join(global, "\n")+"\ndatabases:\n"+databases), 0o600))
}

// databases are each server at a port of its own, and PostgreSQL at a unix socket as well. more are
// lines of PostgreSQL's.
func (s *stand) databases(more ...string) string {
	return s.postgres("pg", append(more, fmt.Sprintf(`listen: ["127.0.0.1:0", "unix:%s/.s.PGSQL.5432"]`, s.dir))...) + fmt.Sprintf(`
  - name: my
    engine: mysql
    listen: 127.0.0.1:0
    credentials: {secrets_manager: {secret_id: prod/my}}
    tls: {ca_file: %q}
`, s.my.CAFile)
}

// postgres is one database of PostgreSQL's, with these lines.
func (s *stand) postgres(name string, lines ...string) string {
	yaml := fmt.Sprintf("  - name: %s\n    engine: postgres\n    credentials: {secrets_manager: {secret_id: prod/pg}}\n    tls: {ca_file: %q}\n", name, s.pg.CAFile)
	for _, line := range lines {
		yaml += "    " + line + "\n"
	}
	return yaml
}

// install puts a build in the place of the program, as a package does.
func (s *stand) install(version string) {
	s.t.Helper()
	s.place(func(path string) error { return os.Link(builds[version], path) })
}

// place puts a file that make makes in the place of the program.
func (s *stand) place(make func(path string) error) {
	s.t.Helper()
	must(s.t, make(s.program+".new"))
	must(s.t, os.Rename(s.program+".new", s.program))
}

// ask runs a command of credproxy and returns what it said and its exit status.
func (s *stand) ask(args ...string) (said string, status int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), builds["v1.1.0"], args...)
	cmd.Env = slices.Concat(s.env, []string{"PATH=" + os.Getenv("PATH"), "CREDPROXY_ADMIN_LISTEN=" + s.admin()}) // two may ask at once
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	must(s.t, err)
	return string(out), 0
}

func (s *stand) admin() string {
	s.t.Helper()
	addr, err := s.proxy.Admin()
	must(s.t, err)
	return addr
}

var served = regexp.MustCompile(`^process (\d+) serves now`)

// upgrade puts a new process in place.
func (s *stand) upgrade() {
	s.t.Helper()
	said, status := s.ask("upgrade")
	m := served.FindStringSubmatch(said)
	if status != 0 || m == nil {
		s.t.Fatalf("status %d: %s", status, said)
	}
	pid, err := strconv.Atoi(m[1])
	must(s.t, err)
	s.pids = append(s.pids, pid)
}

// refused asks for an upgrade that cannot be, and returns what the command says.
func (s *stand) refused(args ...string) string {
	s.t.Helper()
	said, status := s.ask(append([]string{"upgrade"}, args...)...)
	if status != 1 || !strings.Contains(said, "not upgraded, and nothing has changed") {
		s.t.Errorf("status %d: %s", status, said)
	}
	return said
}

// status is what the process that serves says of itself.
type status struct {
	Version      string
	PID          int
	Ready        bool
	Databases    []database
	Predecessors []struct {
		PID      int
		Version  string
		Sessions int64
	}
}

type database struct {
	Name       string
	Ready      bool
	Listeners  []string
	BreakGlass struct {
		Active bool
		Reason string
		Until  time.Time
	} `json:"break_glass"`
}

func (s *stand) status() (st status) {
	s.t.Helper()
	code, text, err := s.proxy.Get("/status")
	must(s.t, err)
	if code != 200 {
		s.t.Fatalf("status %d: %s", code, text)
	}
	must(s.t, json.Unmarshal([]byte(text), &st))
	return st
}

// stop ends the processes that were put in place, and waits for their ends: each is a child of the
// test's. The first is package sidecar's to end, since a second signal would end it at once.
func (s *stand) stop() {
	for _, pid := range s.pids[1:] {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	for _, pid := range s.pids[1:] {
		if code := reap(s.t, pid); code != 0 {
			s.t.Errorf("process %d ended with status %d", pid, code)
		}
	}
	s.noneLeft(s.pids[0])
}

// reap waits for the end of a process, which it hastens after a while.
func reap(t *testing.T, pid int) (code int) {
	var status syscall.WaitStatus
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		switch got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil); {
		case got == pid && status.Exited():
			return status.ExitStatus()
		case got == pid:
			return -1
		case err != nil && !errors.Is(err, syscall.EINTR):
			return 0 // reaped before
		}
		if time.Now().After(deadline) {
			t.Errorf("process %d does not end", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
			deadline = deadline.Add(time.Hour)
		}
	}
}

// noneLeft holds that no credproxy of the stand's is left but for one.
func (s *stand) noneLeft(but ...int) {
	s.t.Helper()
	for _, pid := range s.alive() {
		if !slices.Contains(but, pid) {
			s.t.Errorf("process %d is left", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
			reap(s.t, pid)
		}
	}
}

// alive are the processes of the stand's program, of whatever build.
func (s *stand) alive() (pids []int) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(s.t, err)
	for _, path := range all {
		line, _ := os.ReadFile(path) // "": it has ended
		if name, _, _ := strings.Cut(string(line), "\x00"); name == s.program {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// await waits until cond holds.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s in 30 s", what)
		}
	}
}

// connect connects to PostgreSQL; the test closes the connection.
func (s *stand) connect() *pgx.Conn {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, "postgres://anybody@"+s.proxy.Addr(s.t, "pg")+"/postgres?sslmode=disable")
	must(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
