package upgrade_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/servers"
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

// upgrades is how many there are under load: those of the soak, or a few.
func upgrades() int {
	if n, err := strconv.Atoi(os.Getenv("CREDPROXY_SOAK")); err == nil {
		return n
	}
	return 4
}

// load is pgbench and sysbench, one run after another.
type load struct {
	t            *testing.T
	done         atomic.Bool
	running      sync.WaitGroup
	runs         atomic.Int64
	transactions atomic.Int64
}

// repeat runs a program until the load is done. Each run must succeed, say want, and name its
// transactions as figure finds them.
func (l *load) repeat(want string, figure *regexp.Regexp, program string, args ...string) {
	l.running.Go(func() {
		for !l.done.Load() {
			cmd := exec.Command(program, args...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			out, err := cmd.CombinedOutput()
			m := figure.FindSubmatch(out)
			if err != nil || !strings.Contains(string(out), want) || m == nil {
				l.t.Errorf("%s: %v\n%s", cmd, err, out)
				return
			}
			n, err := strconv.ParseInt(string(m[1]), 10, 64)
			if err != nil || n == 0 {
				l.t.Errorf("%s did nothing: %s", cmd, out)
				return
			}
			l.runs.Add(1)
			l.transactions.Add(n)
		}
	})
}

// start starts it: sessions of one transaction and of many, over TCP and the unix socket.
func (s *stand) start() *load {
	s.t.Helper()
	l := &load{t: s.t}
	for name, text := range map[string]string{"one.sql": "SELECT 1;\n", "reconnecting.lua": reconnecting} {
		must(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
	}
	_, pgPort, _ := net.SplitHostPort(s.proxy.Addr(s.t, "pg"))
	_, myPort, _ := net.SplitHostPort(s.proxy.Addr(s.t, "my"))
	pgbench, processed := servers.PostgresProgram(s.t, 15, "pgbench"), regexp.MustCompile(`actually processed: (\d+)`)
	for _, args := range [][]string{
		{"-T", "3", "-C", "-h", "127.0.0.1", "-p", pgPort}, {"-T", "2", "-C", "-h", s.dir, "-p", "5432"}, {"-T", "5", "-h", "127.0.0.1", "-p", pgPort},
	} {
		l.repeat("number of failed transactions: 0 ", processed, pgbench,
			append(args, "-n", "-c", "2", "-U", "anybody", "-f", filepath.Join(s.dir, "one.sql"), "postgres")...)
	}
	l.repeat("ignored errors:                      0", regexp.MustCompile(`total number of events: +(\d+)`), sysbench, filepath.Join(s.dir, "reconnecting.lua"),
		"--time=4", "--threads=2", "--db-driver=mysql", "--mysql-host=127.0.0.1", "--mysql-port="+myPort, "--mysql-user=anybody", "--mysql-db=app", "run")
	s.t.Cleanup(func() { l.done.Store(true); l.running.Wait() })
	return l
}

// TestUpgradesUnderLoad puts one new process after another in place, of the one build and of
// the other. No connect and no query fails. A session from before the first works after the
// last, and is cancelled by a request that comes to the last.
func TestUpgradesUnderLoad(t *testing.T) {
	s := newStand(t)
	oldest, oldestMySQL := s.connect(), s.connectMySQL()
	var id int
	must(t, oldestMySQL.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
	l := s.start()
	n := upgrades()
	for i := range n {
		s.install([]string{"v1.1.0", "v1.0.0"}[i%2])
		s.upgrade()
	}
	l.done.Store(true)
	l.running.Wait()
	t.Logf("%d upgrades, %d transactions in %d runs", n, l.transactions.Load(), l.runs.Load())
	await(t, "end of the processes between the first and the last", func() bool { return len(s.alive()) == 2 })
	if st := s.status(); st.PID != s.pids[n] || len(st.Predecessors) != 1 || st.Predecessors[0].PID != s.pids[0] || st.Predecessors[0].Sessions != 2 {
		t.Errorf("%+v", st)
	}
	s.cancels(oldest)
	var one int
	interrupted := make(chan error, 1)
	go func() {
		var result int
		err := oldestMySQL.QueryRowContext(t.Context(), "SELECT SLEEP(600)").Scan(&result)
		if err == nil && result != 1 {
			err = errors.New("it was not interrupted")
		}
		interrupted <- err
	}()
	killer := s.connectMySQL()
	await(t, "query of MySQL", func() bool {
		var busy int
		must(t, killer.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.processlist WHERE ID = ? AND INFO LIKE 'SELECT SLEEP%'", id).Scan(&busy))
		return busy == 1
	})
	_, err := killer.ExecContext(t.Context(), "KILL QUERY "+strconv.Itoa(id))
	must(t, err)
	if err := <-interrupted; err != nil { // SLEEP that is interrupted returns 1
		if failed, ok := errors.AsType[*mysql.MySQLError](err); !ok || failed.Number != 1317 {
			t.Errorf("the killed query: %v", err)
		}
	}
	must(t, oldestMySQL.QueryRowContext(t.Context(), "SELECT 1").Scan(&one))
}

// cancels has a session be cancelled, by a request that comes to the process that serves, and work on.
func (s *stand) cancels(session *pgx.Conn) {
	s.t.Helper()
	slept := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute) // for a cancel that is lost
		defer cancel()
		_, err := session.Exec(ctx, "SELECT pg_sleep(600)")
		slept <- err
	}()
	watcher := s.connect()
	await(s.t, "query", func() bool {
		var busy bool
		must(s.t, watcher.QueryRow(s.t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND query LIKE 'SELECT pg_sleep%')", session.PgConn().PID()).Scan(&busy))
		return busy
	})
	must(s.t, watcher.Close(s.t.Context()))
	must(s.t, session.PgConn().CancelRequest(s.t.Context()))
	err := <-slept
	if failed, ok := errors.AsType[*pgconn.PgError](err); !ok || failed.Code != "57014" {
		s.t.Errorf("the cancelled query: %v", err)
	}
	var one int
	must(s.t, session.QueryRow(s.t.Context(), "SELECT 1").Scan(&one))
}

// connectMySQL returns one session of MySQL.
func (s *stand) connectMySQL() *sql.Conn {
	s.t.Helper()
	db, err := sql.Open("mysql", "anybody@tcp("+s.proxy.Addr(s.t, "my")+")/app")
	must(s.t, err)
	s.t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(s.t.Context())
	must(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}
