package integration_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// elsewhere is an address of this machine whose errors servers count. Those of
// 127.0.0.1 they do not.
const elsewhere = "127.0.0.2"

func dialFrom(ip, target string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: 10 * time.Second}
	return d.Dial("tcp", target)
}

// comeFrom listens, and passes what arrives on to target from the address ip.
func comeFrom(t *testing.T, ip, target string) (port int) {
	t.Helper()
	ln := listenLocal(t)
	var all sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer client.Close()
				if server, err := dialFrom(ip, target); err == nil {
					splice(client, server)
				}
			})
		}
	})
	return ln.Addr().(*net.TCPAddr).Port
}

// strict is a server that blocks a host after 10 interrupted handshakes in a row,
// and a credproxy that comes from such a host.
type strict struct {
	*watched
	my   *servers.MySQL
	addr string
}

func newStrict(t *testing.T, flavor, connectTimeout string, more ...string) *strict {
	t.Helper()
	s := &strict{my: newMySQL(t, servers.MySQLOptions{Flavor: flavor, Settings: map[string]string{
		"max_connect_errors": "10", "connect_timeout": connectTimeout,
		"skip_name_resolve": "OFF", "host_cache_size": "128", "performance_schema": "ON",
	}})}
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", mySQLSecret(s.my, "app", appPassword))
	more = append(more, fmt.Sprintf("port: %d", comeFrom(t, elsewhere, s.my.Addr())), "tls: "+tlsYAML("", s.my.CAFile))
	s.watched = watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + mySQLEntry("main", arn, more...)}, appPassword)
	s.addr = s.Addr(t, "main")
	return s
}

// interrupted is how many interrupted handshakes the server has counted, of all
// hosts and of ours.
func (s *strict) interrupted(t *testing.T) (all, ours int) {
	t.Helper()
	return mySQLStatus(t, s.my, "Aborted_connects"), mySQLNumber(t, s.my,
		"SELECT COALESCE(SUM(sum_connect_errors + count_handshake_errors), 0) FROM performance_schema.host_cache WHERE ip = ?", elsewhere)
}

// probe is a client that is none: it leaves in its own way.
type probe struct {
	name    string
	greeted bool   // it waits for the greeting
	says    []byte // and then says this
	reset   bool   // and leaves with RST
	stays   bool   // until the test ends
}

var probes = []probe{
	{name: "connect and close"},
	{name: "connect and reset", reset: true},
	{name: "greeting and close", greeted: true},
	{name: "greeting and reset", greeted: true, reset: true},
	{name: "half a header", greeted: true, says: []byte{40, 0}},
	{name: "half a response", greeted: true, says: append([]byte{200, 0, 0, 1}, make([]byte, 50)...), reset: true},
	{name: "HTTP", says: []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), greeted: true},
	{name: "TLS that was not offered", greeted: true, says: append([]byte{32, 0, 0, 1, 0x00, 0x8a, 0, 0}, make([]byte, 28)...)},
	{name: "half open", stays: true},
	{name: "greeting and silence", greeted: true, stays: true},
}

// send makes one probe. It returns when credproxy has ended the connection, unless
// the probe left first or stays.
func (p probe) send(t *testing.T, addr string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Errorf("%s: %v", p.name, err)
		return
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 1024)
	if p.greeted {
		if _, err := conn.Read(b); err != nil {
			t.Errorf("%s: no greeting: %v", p.name, err)
		}
	}
	_, _ = conn.Write(p.says)
	switch {
	case p.stays:
		t.Cleanup(func() { _ = conn.Close() })
	case p.reset:
		reset(conn.(*net.TCPConn))
	case len(p.says) > 0:
		_ = conn.(*net.TCPConn).CloseWrite()
		if answer, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) || len(answer) > 1024 {
			t.Errorf("%s: answered %q, %v", p.name, answer, err)
		}
		fallthrough
	default:
		_ = conn.Close()
	}
}

// sendAll makes n probes, several at a time.
func sendAll(t *testing.T, addr string, n int, of []probe) {
	const atOnce = 8
	var all sync.WaitGroup
	for first := range atOnce {
		all.Go(func() {
			for i := first; i < n; i += atOnce {
				of[i%len(of)].send(t, addr)
			}
		})
	}
	all.Wait()
}

// TestMySQLProbes shows that who probes the port, or comes and goes without
// logging in, does not get the host blocked: for the server every handshake has
// been finished. The server is shown to block the host if they are not.
func TestMySQLProbes(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		s := newStrict(t, flavor, "10", "limits: {login_timeout: 4s}")
		if err := s.mySQL(t, "main", ""); err != nil {
			t.Fatal(err)
		}
		sendAll(t, s.addr, 200, probes)
		if err := s.mySQL(t, "main", ""); err != nil {
			t.Errorf("login after the probes: %v", err)
		}
		awaitMetric(t, s.Proxy, 0, "credproxy_connections_active") // those that stayed have been sent away
		if all, ours := s.interrupted(t); all != 0 || ours != 0 {
			t.Errorf("the server counted %d interrupted handshakes, %d of credproxy's host", all, ours)
		}
		if n := mySQLNumber(t, s.my, "SELECT COUNT(*) FROM performance_schema.host_cache WHERE ip = ? AND host_validated = 'YES'", elsewhere); n != 1 {
			t.Errorf("the server does not watch the host; does this machine's name server answer?")
		}
		s.blocked(t)
	})
}

// blocked has the server block the host, which is then what clients hear.
func (s *strict) blocked(t *testing.T) {
	// A login that comes before the server has counted all of these starts the count anew.
	interrupt := func() {
		for range 11 {
			conn, err := dialFrom(elsewhere, s.my.Addr())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Read(make([]byte, 1024))
			_ = conn.Close()
		}
	}
	c := s.my.Config("app", appPassword, "")
	c.DialFunc = func(context.Context, string, string) (net.Conn, error) { return dialFrom(elsewhere, s.my.Addr()) }
	var e *mysql.MySQLError
	if !eventually(10*time.Second, func() bool { interrupt(); return errors.As(logInMySQL(t.Context(), c), &e) }) {
		t.Fatal("the server does not block the host")
	}
	if through := s.mySQLRefused(t, "main", ""); mySQLCode(through) != "1129" || through.Error() != e.Error() {
		t.Errorf("client is told %v, want %v", through, e)
	}
	if rejected, err := s.Metric("credproxy_login_attempts_total", `result="rejected"`); err != nil || rejected != 0 {
		t.Errorf("credproxy counted %v rejected attempts, %v", rejected, err)
	}
	if err := s.my.Exec(t.Context(), "TRUNCATE performance_schema.host_cache"); err != nil {
		t.Fatal(err)
	}
	s.mySQLRecovers(t, "main", "")
}

// TestMySQLStall has a client take longer than the server's connect_timeout to
// answer the greeting. It is logged in all the same, on another connection, and
// one that never answers is cut off; the server counts neither.
func TestMySQLStall(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		s := newStrict(t, flavor, "2", "limits: {login_timeout: 4s}")
		never := dial(t, s.addr)
		conn := dial(t, s.addr)
		c := &rawMySQL{Conn: conn, t: t, r: bufio.NewReader(conn), hello: mysqlHello{caps: usualCaps, charset: 45, user: "anybody"}}
		c.greeting = parseMySQLGreeting(t, c.packet())
		sidecar.Await(t, "the server to be rid of the connection that was greeted", func() bool {
			return mySQLNumber(t, s.my, "SELECT COUNT(*) FROM information_schema.processlist WHERE id = ?", c.greeting.id) == 0
		})
		c.send(c.hello.encode())
		if end := c.loggedIn(c.packet()); end[0] != 0 {
			t.Fatalf("late login: %s", mysqlError(end))
		}
		if got := c.value("SELECT CURRENT_USER()"); got != "app@%" {
			t.Errorf("logged in as %s", got)
		}
		if !s.logged("main", `"msg":"session started"`, fmt.Sprintf(`"connection_id_told":%d`, c.greeting.id)) {
			t.Error("the log does not tell of the other connection")
		}
		if _, err := io.Copy(io.Discard, never); err != nil {
			t.Errorf("who never answers is not cut off: %v", err)
		}
		awaitMetric(t, s.Proxy, 1, "credproxy_connections_active") // the late one
		if all, ours := s.interrupted(t); all != 0 || ours != 0 {
			t.Errorf("the server counted %d interrupted handshakes, %d of credproxy's host", all, ours)
		}
	})
}

// TestMySQLGarbage throws 2,000 connections at credproxy that are no logins, and
// clients that vanish at each step of a session. They leave nothing behind, while
// others log in.
func TestMySQLGarbage(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		s := newMySQLStand(t, servers.MySQLOptions{Flavor: flavor}, "", "limits: {login_timeout: 5s}")
		s.conn(t, s.config())
		awaitMetric(t, s.proxy, 1, "credproxy_connections_active")
		before := leftovers(t, s.proxy)
		sendAll(t, s.addr, 1000, probes[:8])
		s.vanish(t, 10)
		awaitMetric(t, s.proxy, 1, "credproxy_connections_active")
		var now [2]float64
		if !eventually(20*time.Second, func() bool {
			now = leftovers(t, s.proxy)
			return now[0] <= before[0]+2 && now[1] <= before[1]+2
		}) {
			t.Errorf("%v goroutines and descriptors after the abuse, %v before", now, before)
		}
		sidecar.Await(t, "the server's sessions to end", func() bool {
			return mySQLNumber(t, s.my, "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app'") <= 1
		})
		s.conn(t, s.config())
	})
}

// leftovers are goroutines and descriptors of credproxy.
func leftovers(t *testing.T, p *sidecar.Proxy) (n [2]float64) {
	t.Helper()
	for i, name := range []string{"go_goroutines", "process_open_fds"} {
		value, err := p.Metric(name)
		if err != nil {
			t.Fatal(err)
		}
		n[i] = value
	}
	return n
}

// vanish has clients leave at each step, with FIN and with RST.
func (s *mySQLStand) vanish(t *testing.T, each int) {
	hello := mysqlHello{caps: usualCaps, charset: 45, user: "anybody", plugin: "mysql_native_password"}
	unsettled := hello // it will have to switch
	unsettled.plugin = "sha256_password"
	for _, step := range []func() net.Conn{
		func() net.Conn { // asked to switch
			c := s.greeted(t, unsettled)
			c.packet()
			return c
		},
		func() net.Conn { return s.greeted(t, hello) }, // while credproxy logs in
		func() net.Conn { return rawLogin(t, s.addr, hello) },
		func() net.Conn { // half a command
			c := rawLogin(t, s.addr, hello)
			_, _ = c.Write([]byte{100, 0, 0, 0, comQuery, 'S'})
			return c
		},
		func() net.Conn { // in a query
			c := rawLogin(t, s.addr, hello)
			_, _ = c.Write([]byte("\x10\x00\x00\x00\x03SELECT SLEEP(1)"))
			return c
		},
		func() net.Conn { // in a result
			c := rawLogin(t, s.addr, hello)
			c.query("SELECT REPEAT('x', 1000) FROM information_schema.columns a JOIN information_schema.columns b LIMIT 50000")
			return c
		},
		func() net.Conn { // in COM_CHANGE_USER
			c := rawLogin(t, s.addr, hello)
			c.command(comChangeUser, []byte("somebody\x00\x00app\x00\x2d\x00mysql_native_password\x00\x00"))
			return c
		},
		func() net.Conn { // half a COM_CHANGE_USER
			c := rawLogin(t, s.addr, hello)
			_, _ = c.Write([]byte{100, 0, 0, 0, comChangeUser, 's'})
			return c
		},
	} {
		for i := range each {
			conn := step()
			if raw, ok := conn.(*rawMySQL); ok {
				conn = raw.Conn
			}
			if i%2 == 0 {
				reset(conn.(*net.TCPConn))
			} else {
				_ = conn.Close()
			}
		}
	}
}

// greeted has answered the greeting and read nothing yet.
func (s *mySQLStand) greeted(t *testing.T, h mysqlHello) *rawMySQL {
	conn := dial(t, s.addr)
	c := &rawMySQL{Conn: conn, t: t, r: bufio.NewReader(conn), hello: h}
	c.greeting = parseMySQLGreeting(t, c.packet())
	c.send(h.encode())
	return c
}
