package integration_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

const sysbench = "/var/cache/credproxy-test/sysbench/usr/bin/sysbench" // by setup.sh

// reconnecting has each thread of sysbench begin a new session every 20 queries.
const reconnecting = `
function thread_init() driver = sysbench.sql.driver(); session = driver:connect(); n = 0 end
function event()
	n = n + 1
	if n % 20 == 0 then session:disconnect(); session = driver:connect() end
	session:query("SELECT 1")
end
function thread_done() session:disconnect() end
`

// TestRollingRestart replaces one credproxy by the next while pgbench and sysbench
// run, behind a balancer that asks for readiness now and then, as Kubernetes does:
// with min_delay longer than that, no connect and no query fails.
func TestRollingRestart(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	my := newMySQLStand(t, servers.MySQLOptions{Flavor: "mysql"}, "")
	secret := my.aws.CreateSecret("prod/pg", secretJSON(pg, "app", appPassword))
	yaml := "shutdown: {min_delay: 1s, drain_timeout: 60s}\n" + mySQLDatabase(my.my, my.arn) + smDatabase("pg", secret, "tls: "+tlsYAML("", pg.CAFile))
	start := func() *watched {
		w := watch(t, sidecar.Options{Config: yaml, Env: my.aws.Env()}, appPassword)
		sidecar.Await(t, "readiness", func() bool { code, _, err := w.Get("/readiness"); return err == nil && code == 200 })
		return w
	}
	var target atomic.Pointer[watched]
	target.Store(start())
	front := func(name string) (port string) {
		addr := balance(t, func() string { return target.Load().Addr(t, name) }, func(client, server net.Conn) { splice(client, server) })
		_, port, _ = net.SplitHostPort(addr)
		return port
	}
	pgPort, myPort := front("pg"), front("main")
	dir := t.TempDir()
	for name, text := range map[string]string{"one.sql": "SELECT 1;\n", "reconnecting.lua": reconnecting} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var load sync.WaitGroup
	var done atomic.Bool
	run := func(cmd *exec.Cmd, want string) {
		load.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: %v\n%s", cmd, err, out)
			}
		})
	}
	for _, args := range [][]string{{"-T", "8", "-C"}, {"-T", "4"}, {"-T", "2"}} {
		run(program(t, 15, "pgbench", append(args, "-n", "-c", "2", "-h", "127.0.0.1", "-p", pgPort, "-U", "anybody", "-f", filepath.Join(dir, "one.sql"), "postgres")...),
			"number of failed transactions: 0")
	}
	cmd := exec.CommandContext(t.Context(), sysbench, filepath.Join(dir, "reconnecting.lua"), "--time=8", "--threads=2", "--db-driver=mysql",
		"--mysql-host=127.0.0.1", "--mysql-port="+myPort, "--mysql-user=anybody", "--mysql-db=app", "run")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	run(cmd, "ignored errors:                      0")
	go func() { load.Wait(); done.Store(true) }()
	restarts := 0
	for ; !done.Load(); restarts++ {
		old, next := target.Load(), start()
		old.Signal(syscall.SIGTERM)
		sidecar.Await(t, "readiness to fail", func() bool { code, _, err := old.Get("/readiness"); return err == nil && code == 503 })
		target.Store(next)
		if code := old.Wait(); code != 0 {
			t.Errorf("status %d", code)
		}
	}
	t.Logf("%d restarts", restarts)
}
