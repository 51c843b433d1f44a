package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/servers"
)

// mysql is MySQL with the contenders in front of it. Its client is a driver for Go
// in this process, because sysbench cannot verify a server.
type mysql struct {
	o       *options
	results *results
	server  *servers.MySQL
}

func mysqlSeries(o *options, r *results) *series {
	m := &mysql{o: o, results: r}
	s := &series{name: "MySQL", start: m.start, server: m.pid}
	for _, mode := range []string{"prepared", "simple"} {
		for _, clients := range []int{1, 8, 64} {
			s.cases = append(s.cases, m.selects(mode, clients))
		}
	}
	for _, clients := range o.many {
		s.cases = append(s.cases, m.selects("prepared", clients))
	}
	s.cases = append(s.cases, m.latency("half load", 2), m.latency("a quarter of the load", 4), m.latency("a tenth of the load", 10), m.rows())
	for _, clients := range []int{1, 8, 64} {
		s.cases = append(s.cases, m.connects(clients))
	}
	return s
}

func (m *mysql) pid() int { return pidFrom(m.server.SocketDir + "/pid") }

func (m *mysql) start(ctx context.Context) (_ []contender, _ func(), err error) {
	var stops stack
	defer func() {
		if err != nil {
			stops.run()
		}
	}()
	if m.server, err = startMySQL(ctx, m.o.many[len(m.o.many)-1]+300); err != nil {
		return nil, nil, err
	}
	stops = append(stops, m.server.Stop)
	contenders := []contender{{name: direct, addr: m.server.Addr()}}
	for _, name := range []string{mysqlRouter, mysqlRouterShares} {
		router, err := m.router(name == mysqlRouterShares)
		if err != nil {
			return nil, nil, err
		}
		contenders, stops = append(contenders, contender{name: name, addr: router.addr, pid: router.pid()}), append(stops, router.stop)
	}
	builds := map[string]string{"credproxy": m.o.binary, credproxyReuse: m.o.binary}
	for name, binary := range m.o.against {
		builds[name] = binary
	}
	for name, binary := range builds {
		d, addr, err := startCredproxy(binary, "mysql", m.server.Port, m.server.CAFile, name == credproxyReuse)
		if err != nil {
			return nil, nil, err
		}
		contenders, stops = append(contenders, contender{name: name, addr: addr, pid: d.pid()}), append(stops, d.stop)
	}
	return contenders, stops.run, nil
}

// startMySQL starts MySQL with the user app and a table of 100,000 rows.
func startMySQL(ctx context.Context, connections int) (*servers.MySQL, error) {
	cert, ca, err := rdsLike()
	if err != nil {
		return nil, err
	}
	server, err := servers.StartMySQL(ctx, servers.MySQLOptions{Flavor: "mysql", Certificate: cert, CA: ca, Settings: map[string]string{
		"max_connections": fmt.Sprint(connections), "innodb_buffer_pool_size": "256M", "thread_cache_size": "100",
		"max_allowed_packet": "64M", "back_log": "4096", "open_files_limit": "65535",
	}})
	if err != nil {
		return nil, err
	}
	err = errors.Join(server.CreateUser(ctx, "app", password, "caching_sha2_password", "ALL ON app.*"),
		server.Exec(ctx, `USE app; SET cte_max_recursion_depth = 100000; CREATE TABLE point (id INT PRIMARY KEY, pad CHAR(84));
			INSERT INTO point WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 100000) SELECT id, repeat('x', 84) FROM n`))
	if err != nil {
		server.Stop()
		return nil, err
	}
	return server, nil
}

type routerDaemon struct {
	*daemon
	addr string
}

// MySQL Router as it is, and so that it gives server sessions on to the next client.
const (
	mysqlRouter       = "MySQL Router"
	mysqlRouterShares = mysqlRouter + " sharing"
)

// router is MySQL Router: in the clear towards clients, TLS towards the server.
func (m *mysql) router(shares bool) (routerDaemon, error) {
	addr, err := freeAddr()
	if err != nil {
		return routerDaemon{}, err
	}
	_, port, _ := net.SplitHostPort(addr)
	more := ""
	if shares {
		more = fmt.Sprintf("connection_sharing=1\n[connection_pool]\nmax_idle_server_connections=%d\n", keptSessions)
	}
	d, err := startDaemon(fmt.Sprintf(`[DEFAULT]
plugin_folder=%s/lib/mysqlrouter/plugin
logging_folder=
runtime_folder=.
data_folder=.
max_total_connections=20000
[logger]
level=warning
[routing:main]
bind_address=127.0.0.1
bind_port=%s
destinations=127.0.0.1:%d
routing_strategy=first-available
protocol=classic
max_connections=20000
client_ssl_mode=DISABLED
server_ssl_mode=REQUIRED
server_ssl_verify=VERIFY_IDENTITY
server_ssl_ca=%s
%s`, peers, port, m.server.Port, m.server.CAFile, more), addr, peers+"/bin/mysqlrouter", "-c", "CONFIG")
	return routerDaemon{d, addr}, err
}

// config is how a client reaches a contender: the server itself over TLS, a proxy
// in the clear, credproxy without a password too.
func (m *mysql) config(c contender) *driver.Config {
	cfg := m.server.Config("app", password, "app")
	cfg.Addr = c.addr
	if c.name != direct {
		cfg.TLS = nil
	}
	if c.pid != 0 && !strings.HasPrefix(c.name, mysqlRouter) {
		cfg.Passwd = ""
	}
	return cfg
}

// clients calls work with n connections, each in a goroutine of its own, until the
// time is over, and returns how often that was done in a second. prepare comes
// first and is not counted.
func (m *mysql) clients(ctx context.Context, c contender, n int, prepare func(*sql.Conn) (func() error, error)) (float64, error) {
	connector, err := driver.NewConnector(m.config(c))
	if err != nil {
		return 0, err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	work := make([]func() error, n)
	for i := range work {
		conn, err := db.Conn(ctx)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		if work[i], err = prepare(conn); err != nil {
			return 0, err
		}
	}
	return m.repeat(ctx, work)
}

func (m *mysql) repeat(ctx context.Context, work []func() error) (float64, error) {
	var done atomic.Int64
	var running sync.WaitGroup
	errs := make([]error, len(work))
	start := time.Now()
	end := start.Add(time.Duration(m.o.seconds) * time.Second)
	for i, once := range work {
		running.Go(func() {
			for time.Now().Before(end) && errs[i] == nil && ctx.Err() == nil {
				errs[i] = once()
				done.Add(1)
			}
		})
	}
	running.Wait()
	return float64(done.Load()) / time.Since(start).Seconds(), errors.Join(append(errs, ctx.Err())...)
}

// pointSelect returns a client's next select.
func pointSelect(ctx context.Context, conn *sql.Conn, mode string) (func() error, error) {
	id := 0
	next := func() int { id = (id*31 + 17) % 100000; return id + 1 }
	var pad string
	if mode == "simple" {
		return func() error {
			return conn.QueryRowContext(ctx, fmt.Sprintf("SELECT pad FROM point WHERE id = %d", next())).Scan(&pad)
		}, nil
	}
	stmt, err := conn.PrepareContext(ctx, "SELECT pad FROM point WHERE id = ?")
	if err != nil {
		return nil, err
	}
	return func() error { return stmt.QueryRowContext(ctx, next()).Scan(&pad) }, nil
}

func (m *mysql) selects(mode string, clients int) measurement {
	return throughput(fmt.Sprintf("MySQL select %s %d clients", mode, clients), "/s", m.o.perSecond, func(ctx context.Context, c contender) (float64, error) {
		return m.clients(ctx, c, clients, func(conn *sql.Conn) (func() error, error) { return pointSelect(ctx, conn, mode) })
	})
}

func (m *mysql) latency(load string, part float64) measurement {
	return m.results.latency("MySQL", load, part, func(ctx context.Context) (float64, error) {
		return m.clients(ctx, contender{name: direct, addr: m.server.Addr()}, latencyClients,
			func(conn *sql.Conn) (func() error, error) { return pointSelect(ctx, conn, "prepared") })
	}, func(ctx context.Context, c contender, rate float64) (l latencies, err error) {
		each := time.Duration(latencyClients / rate * float64(time.Second))
		var mu sync.Mutex
		_, err = m.clients(ctx, c, latencyClients, func(conn *sql.Conn) (func() error, error) {
			once, err := pointSelect(ctx, conn, "prepared")
			var due time.Time
			return func() error {
				if due = due.Add(each); due.Year() < 2000 {
					due = time.Now()
				}
				time.Sleep(time.Until(due))
				sent := time.Now()
				err := once()
				answered := time.Now()
				mu.Lock()
				defer mu.Unlock()
				l.sinceDue = append(l.sinceDue, answered.Sub(due).Seconds()*1000)
				l.sinceSent = append(l.sinceSent, answered.Sub(sent).Seconds()*1000)
				return err
			}, err
		})
		return l, err
	})
}

func (m *mysql) rows() measurement {
	return throughput("MySQL rows of 1 MB, 2 clients", "MB/s", m.o.perSecond, func(ctx context.Context, c contender) (float64, error) {
		return m.clients(ctx, c, 2, func(conn *sql.Conn) (func() error, error) {
			return func() error { return bigRow(ctx, conn) }, nil
		})
	})
}

func bigRow(ctx context.Context, conn *sql.Conn) error {
	rows, err := conn.QueryContext(ctx, "SELECT repeat('x', 1000000)")
	if err != nil {
		return err
	}
	defer rows.Close()
	var row sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// connects connects, queries once and disconnects.
func (m *mysql) connects(clients int) measurement {
	return throughput(fmt.Sprintf("MySQL connect, select, disconnect, %d clients", clients), "/s", m.o.perSecond, func(ctx context.Context, c contender) (float64, error) {
		connector, err := driver.NewConnector(m.config(c))
		if err != nil {
			return 0, err
		}
		db := sql.OpenDB(connector)
		defer db.Close()
		db.SetMaxIdleConns(-1)
		var pad string
		once := func() error { return db.QueryRowContext(ctx, "SELECT pad FROM point WHERE id = 7").Scan(&pad) }
		return m.repeat(ctx, slices.Repeat([]func() error{once}, clients))
	})
}

// stack is what is to be stopped, the last first.
type stack []func()

func (s stack) run() {
	for _, stop := range slices.Backward(s) {
		stop()
	}
}
