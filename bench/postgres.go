package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
)

// password of the database user app. It is nobody's.
const password = "bench-Only-1"

// postgres is PostgreSQL 15 with the contenders in front of it.
type postgres struct {
	o       *options
	results *results
	server  *servers.Postgres
	pgbench string
	psql    string
	dir     string // for logs of pgbench
}

func postgresSeries(o *options, r *results) *series {
	p := &postgres{o: o, results: r}
	s := &series{name: "PostgreSQL", start: p.start, server: func() int { return pidFrom(p.server.SocketDir + "/data/postmaster.pid") }}
	for _, mode := range []string{"prepared", "simple"} {
		for _, clients := range []int{1, 8, 64} {
			s.cases = append(s.cases, p.selects(mode, clients))
		}
	}
	s.cases = append(s.cases, p.latency("half load", 2), p.latency("a quarter of the load", 4), p.latency("a tenth of the load", 10), p.rows(), p.copyOut(), p.copyIn())
	for _, clients := range []int{1, 8, 64} {
		s.cases = append(s.cases, p.connects(clients))
	}
	return s
}

// start starts them all.
func (p *postgres) start(ctx context.Context) (_ []contender, _ func(), err error) {
	var stops []func()
	stop := func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	if p.dir, err = os.MkdirTemp("", "credproxy-bench-"); err != nil {
		return nil, nil, err
	}
	stops = append(stops, func() { _ = os.RemoveAll(p.dir) })
	cert, ca, err := rdsLike()
	if err != nil {
		return nil, nil, err
	}
	p.server, err = servers.StartPostgres(ctx, servers.PostgresOptions{Version: 15, Certificate: cert, CA: ca, Settings: map[string]string{
		"shared_buffers": "256MB", "max_connections": "300", "log_connections": "off", "log_disconnections": "off", "max_wal_size": "4GB",
	}})
	if err != nil {
		return nil, nil, err
	}
	stops = append(stops, p.server.Stop)
	if err := p.fill(ctx); err != nil {
		return nil, nil, err
	}
	contenders := []contender{p.overTLS(direct, p.server.Port, 0)}
	for _, begin := range []func() (contender, func(), error){
		func() (contender, func(), error) { return p.pgbouncer("session") },
		func() (contender, func(), error) { return p.pgbouncer("transaction") },
		p.haproxy,
		func() (contender, func(), error) { return p.credproxy("credproxy", p.o.binary, false) },
		func() (contender, func(), error) { return p.credproxy(credproxyReuse, p.o.binary, true) },
	} {
		c, stopIt, err := begin()
		if err != nil {
			return nil, nil, err
		}
		contenders, stops = append(contenders, c), append(stops, stopIt)
	}
	for name, binary := range p.o.against {
		c, stopIt, err := p.credproxy(name, binary, false)
		if err != nil {
			return nil, nil, err
		}
		contenders, stops = append(contenders, c), append(stops, stopIt)
	}
	for name, conninfo := range p.o.others {
		contenders = append(contenders, contender{name: name, args: []string{conninfo}, env: []string{"PGPASSWORD=" + password}})
	}
	return contenders, stop, nil
}

// rdsLike is a certificate with the kind of key that RDS has.
func rdsLike() (*pki.Certificate, *pki.CA, error) {
	ca, err := pki.NewRSACA("credproxy benchmark authority")
	if err != nil {
		return nil, nil, err
	}
	leaf := pki.Localhost()
	leaf.RSA = true
	cert, err := ca.Issue(leaf)
	return cert, ca, err
}

// fill makes the user app and the tables of pgbench, 500,000 accounts.
func (p *postgres) fill(ctx context.Context) (err error) {
	if p.pgbench, err = p.server.Program("pgbench"); err != nil {
		return err
	}
	if p.psql, err = p.server.Program("psql"); err != nil {
		return err
	}
	if err := p.server.CreateRole(ctx, "app", password); err != nil {
		return err
	}
	if err := p.server.Exec(ctx, "GRANT CREATE ON SCHEMA public TO app; CREATE UNLOGGED TABLE sink (line text); GRANT ALL ON sink TO app"); err != nil {
		return err
	}
	c := p.overTLS(direct, p.server.Port, 0)
	_, err = output(ctx, c.env, p.dir, p.pgbench, "-i", "-q", "-s", "5", "--unlogged-tables", c.args[0])
	return err
}

// overTLS is a contender that the client speaks TLS through, with a password.
func (p *postgres) overTLS(name string, port, pid int) contender {
	return contender{name: name, pid: pid, env: []string{"PGPASSWORD=" + password},
		args: []string{fmt.Sprintf("host=127.0.0.1 port=%d user=app dbname=postgres sslmode=verify-full sslrootcert=%s", port, p.server.CAFile)}}
}

// plain is a contender that the client reaches in the clear and without a
// password, and that speaks TLS to the server.
func plain(name, addr string, pid int) contender {
	_, port, _ := net.SplitHostPort(addr)
	return contender{name: name, addr: addr, pid: pid,
		args: []string{fmt.Sprintf("host=127.0.0.1 port=%s user=app dbname=postgres sslmode=disable", port)}}
}

func (p *postgres) pgbouncer(mode string) (contender, func(), error) {
	name := "pgbouncer " + mode
	addr, err := freeAddr()
	if err != nil {
		return contender{}, nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	d, err := startDaemon(pgbouncerConfig(mode, port, p.server.Port, p.server.CAFile), addr, peers+"/sbin/pgbouncer", "-q", "CONFIG")
	if err != nil {
		return contender{}, nil, err
	}
	return plain(name, addr, d.pid()), d.stop, nil
}

func pgbouncerConfig(mode, port string, serverPort int, caFile string) string {
	return fmt.Sprintf(`[databases]
postgres = host=127.0.0.1 port=%d dbname=postgres user=app password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = %s
default_pool_size = %d
max_client_conn = 20000
max_prepared_statements = 100
server_tls_sslmode = verify-full
server_tls_ca_file = %s
log_connections = 0
log_disconnections = 0
`, serverPort, password, port, mode, keptSessions, caFile)
}

// haproxy moves bytes: the client's TLS goes through to the server, because haproxy
// cannot start TLS in PostgreSQL's way.
func (p *postgres) haproxy() (contender, func(), error) {
	addr, err := freeAddr()
	if err != nil {
		return contender{}, nil, err
	}
	d, err := startDaemon(haproxyConfig(addr, p.server.Addr()), addr, peers+"/sbin/haproxy", "-db", "-f", "CONFIG")
	if err != nil {
		return contender{}, nil, err
	}
	port, _ := strconv.Atoi(addr[strings.LastIndex(addr, ":")+1:])
	return p.overTLS("haproxy TCP", port, d.pid()), d.stop, nil
}

func haproxyConfig(addr, server string) string {
	return fmt.Sprintf(`global
    maxconn 1000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen database
    bind %s
    server database %s
`, addr, server)
}

func (p *postgres) credproxy(name, binary string, reuse bool) (contender, func(), error) {
	d, addr, err := startCredproxy(binary, "postgres", p.server.Port, p.server.CAFile, reuse)
	if err != nil {
		return contender{}, nil, err
	}
	return plain(name, addr, d.pid()), d.stop, nil
}

var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

// bench runs pgbench and returns its transactions a second.
func (p *postgres) bench(ctx context.Context, c contender, args ...string) (float64, error) {
	args = append([]string{"-n", "-T", strconv.Itoa(p.o.seconds)}, args...)
	out, err := output(ctx, c.env, p.dir, p.pgbench, append(args, c.args...)...)
	if err != nil {
		return 0, err
	}
	m := tps.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("pgbench does not say how fast it was:\n%s", out)
	}
	return strconv.ParseFloat(m[1], 64)
}

// selects are point selects.
func (p *postgres) selects(mode string, clients int) measurement {
	// The time that pgbench takes to connect is of its time too.
	time := p.o.seconds + clients/16
	return throughput(fmt.Sprintf("PostgreSQL select %s %d clients", mode, clients), "/s", func(rate float64) float64 { return rate * float64(time) },
		func(ctx context.Context, c contender) (float64, error) {
			return p.bench(ctx, c, "-S", "-M", mode, "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(time))
		})
}

func (p *postgres) latency(load string, part float64) measurement {
	selects := []string{"-S", "-M", "prepared", "-c", strconv.Itoa(latencyClients)}
	return p.results.latency("PostgreSQL", load, part, func(ctx context.Context) (float64, error) {
		return p.bench(ctx, p.overTLS(direct, p.server.Port, 0), selects...)
	}, func(ctx context.Context, c contender, rate float64) (l latencies, err error) {
		dir, err := os.MkdirTemp(p.dir, "latency")
		if err != nil {
			return l, err
		}
		defer os.RemoveAll(dir)
		_, err = p.bench(ctx, c, append(slices.Clip(selects), "-R", strconv.FormatFloat(rate, 'f', 0, 64),
			"-l", "--log-prefix", filepath.Join(dir, "log"))...)
		if err != nil {
			return l, err
		}
		return readLatencies(dir)
	})
}

// readLatencies reads the logs of pgbench: the third column is the time since a
// transaction was due, the seventh how late it was sent, both in microseconds.
func readLatencies(dir string) (l latencies, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "log*"))
	if err != nil || len(files) == 0 {
		return l, errors.Join(err, errors.New("pgbench has left no log"))
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return l, err
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 7 {
				return l, fmt.Errorf("log of pgbench: %q does not say how late the query was sent", lines.Text())
			}
			us, err := strconv.ParseFloat(fields[2], 64)
			late, lateErr := strconv.ParseFloat(fields[6], 64)
			if err = cmp.Or(err, lateErr); err != nil {
				return l, fmt.Errorf("log of pgbench: %w", err)
			}
			l.sinceDue = append(l.sinceDue, us/1000)
			l.sinceSent = append(l.sinceSent, (us-late)/1000)
		}
	}
	return l, nil
}

// rows are single rows of 1 MB.
func (p *postgres) rows() measurement {
	return throughput("PostgreSQL rows of 1 MB, 2 clients", "MB/s", p.o.perSecond, func(ctx context.Context, c contender) (float64, error) {
		file := filepath.Join(p.dir, "rows.sql")
		if err := os.WriteFile(file, []byte("SELECT repeat('x', 1000000);\n"), 0o600); err != nil {
			return 0, err
		}
		return p.bench(ctx, c, "-f", file, "-c", "2")
	})
}

// copyOut and copyIn move 1 GB of lines of 8,000 bytes that the server neither
// reads from a table nor stores, so that what is measured is the way between.

func (p *postgres) copyOut() measurement {
	return p.copy("out", "psql \"$1\" -XqAt -c \"COPY (SELECT repeat('x', 7999) FROM generate_series(1, $2)) TO STDOUT\" >/dev/null")
}

func (p *postgres) copyIn() measurement {
	return p.copy("in", "head -c 7999 /dev/zero | tr '\\0' x >line; yes \"$(cat line)\" | head -n \"$2\" | psql \"$1\" -Xq -c 'COPY sink FROM STDIN WHERE false'")
}

func (p *postgres) copy(way, script string) measurement {
	lines := strconv.Itoa(p.o.copyMB * 1e6 / 8000)
	return throughput(fmt.Sprintf("PostgreSQL COPY %s, %d MB", way, p.o.copyMB), "MB/s", func(float64) float64 { return float64(p.o.copyMB) },
		func(ctx context.Context, c contender) (float64, error) {
			env := append([]string{"PATH=" + filepath.Dir(p.psql) + ":" + os.Getenv("PATH")}, c.env...)
			start := time.Now()
			_, err := output(ctx, env, p.dir, "/bin/sh", "-c", "set -e; "+script, "sh", c.args[0], lines)
			return float64(p.o.copyMB) / time.Since(start).Seconds(), err
		})
}

// connects connects, queries once and disconnects. Each client has a thread: a thread of
// pgbench waits while it connects, whatever its other clients do.
func (p *postgres) connects(clients int) measurement {
	n := strconv.Itoa(clients)
	return throughput(fmt.Sprintf("PostgreSQL connect, select, disconnect, %d clients", clients), "/s", p.o.perSecond, func(ctx context.Context, c contender) (float64, error) {
		return p.bench(ctx, c, "-S", "-C", "-c", n, "-j", n)
	})
}
