package integration_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
)

const pgbouncer = "/var/cache/credproxy-test/pgbouncer/usr/sbin/pgbouncer" // by setup.sh

// TestPgbouncer has pgbouncer log in through credproxy with the settings that
// docs/migration.md shows. It makes a new connection for each transaction, so that the
// password that changes between two of them is needed.
func TestPgbouncer(t *testing.T) {
	s := newPGServer(t, servers.PostgresOptions{Version: 15})
	s.run(t, secretJSON(s.Postgres, "app", appPassword))
	conn := pgConnect(t, startPgbouncer(t, s.addr)+" default_query_exec_mode=simple_protocol")
	const who = "SELECT current_user || ' ' || pg_backend_pid()"
	before := ask(t, conn, who)
	const next = "n3xt-Passw0rd"
	if err := s.SetPassword(t.Context(), "app", next); err != nil {
		t.Fatal(err)
	}
	s.aws.PutSecret(s.arn, secretJSON(s.Postgres, "app", next), awsstub.Current)
	after := ask(t, conn, who)
	if before[:4] != "app " || after[:4] != "app " || before == after {
		t.Errorf("the transactions were on %q and %q, want two connections of app", before, after)
	}
}

// startPgbouncer starts one in front of addr and returns how to connect to it.
func startPgbouncer(t *testing.T, addr string) (conninfo string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	listen := strconv.Itoa(freePort(t))
	file := filepath.Join(t.TempDir(), "pgbouncer.ini")
	config := fmt.Sprintf(`[databases]
orders = host=%s port=%s dbname=postgres user=any

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
server_tls_sslmode = disable
pool_mode = transaction
server_lifetime = 0
`, host, port, listen)
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(file); dir != os.TempDir(); dir = filepath.Dir(dir) { // it refuses to be root
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(pgbouncer, file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("pgbouncer:\n%s", log.Bytes())
		}
	})
	conninfo = fmt.Sprintf("host=127.0.0.1 port=%s user=anybody dbname=orders sslmode=disable", listen)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := pgx.Connect(t.Context(), conninfo)
		if err == nil {
			_ = conn.Close(t.Context())
			return conninfo
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
