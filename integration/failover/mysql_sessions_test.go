package failover_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// offTheOldServer is how long the sessions of a demoted server may last.
const offTheOldServer = 6 * time.Second

// eachMySQL runs a test with a pair of each flavor whose name goes on naming the old writer,
// and with credproxy that has role: writer.
func eachMySQL(t *testing.T, test func(t *testing.T, s *stand), more ...string) {
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) {
			t.Parallel()
			test(t, newPair(t, mySQL{flavor}).run(t, append([]string{"role: writer", fmt.Sprintf("hosts: [%s, %s]", nameA, nameB)}, more...)...))
		})
	}
}

// rawMySQL is a session of which the bytes can be read that nobody asked for.
type rawMySQL struct {
	*sql.Conn
	tcp net.Conn
}

func (s *stand) mySQL(t *testing.T, options ...mysql.Option) rawMySQL {
	t.Helper()
	d := s.door(t)
	c := mysql.NewConfig()
	c.User, c.DBName, c.Net, c.Addr, c.Logger = "anybody", "app", "tcp", net.JoinHostPort(d.host, d.port), &mysql.NopLogger{}
	must(t, c.Apply(options...))
	var raw rawMySQL
	c.DialFunc = func(ctx context.Context, network, addr string) (tcp net.Conn, err error) {
		raw.tcp, err = new(net.Dialer).DialContext(ctx, network, addr)
		return &offeringCompression{Conn: raw.tcp}, err
	}
	connector, err := mysql.NewConnector(c)
	must(t, err)
	db := sql.OpenDB(connector)
	raw.Conn, err = db.Conn(t.Context())
	must(t, err)
	t.Cleanup(func() { _, _ = raw.Conn.Close(), db.Close() })
	return raw
}

// offeringCompression is a connection whose greeting offers compression, which credproxy's does
// not, so that the driver compresses where it is told to, as PHP does unasked.
type offeringCompression struct {
	net.Conn
	greeted bool
}

func (c *offeringCompression) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	const header, protocol, id, salt, filler = 4, 1, 4, 8, 1
	if !c.greeted && n > header+protocol {
		c.greeted = true
		version := bytes.IndexByte(b[header+protocol:n], 0) + 1
		b[header+protocol+version+id+salt+filler] |= 0x20 // CLIENT_COMPRESS
	}
	return n, err
}

// host asks a session at which server it is, which must take a write.
func (raw rawMySQL) host(t *testing.T) (host string) {
	t.Helper()
	_, err := raw.ExecContext(t.Context(), "INSERT INTO writes VALUES (0, 0, @@bind_address)")
	must(t, err)
	must(t, raw.QueryRowContext(t.Context(), "SELECT @@bind_address").Scan(&host))
	return host
}

// farewell reads the packet that ends the session: an error's number and message.
func (raw rawMySQL) farewell(t *testing.T, framed bool) (number uint16, message string) {
	t.Helper()
	_ = raw.tcp.SetReadDeadline(time.Now().Add(offTheOldServer))
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := raw.tcp.Read(buf)
		if all = append(all, buf[:n]...); err != nil {
			break
		}
	}
	head := 4
	if framed {
		head += 7
	}
	if len(all) < head+9 || all[head] != 0xff {
		t.Fatalf("the last word is %q", all)
	}
	return uint16(all[head+1]) | uint16(all[head+2])<<8, string(all[head+9:])
}

// TestMySQLDemotedServerLosesItsSessions has a source become read-only, which keeps its
// sessions: the idle ones hear why they end, those in a transaction go on until the drain is
// over, and new ones get the new source though the name leads to the old one.
func TestMySQLDemotedServerLosesItsSessions(t *testing.T) {
	eachMySQL(t, func(t *testing.T, s *stand) {
		old := s.writer
		idle, framed, busy := s.mySQL(t), s.mySQL(t, mysql.EnableCompression(true)), s.mySQL(t)
		for _, session := range []rawMySQL{idle, framed, busy} {
			if at := session.host(t); at != old {
				t.Fatalf("at %s, want the source, %s", at, old)
			}
		}
		_, err := busy.ExecContext(t.Context(), "START TRANSACTION READ ONLY")
		must(t, err)
		ended := make(chan error)
		go func() {
			var n int
			ended <- busy.QueryRowContext(t.Context(), "SELECT SLEEP(30)").Scan(&n)
		}()
		c := s.handOver(t)
		for what, session := range map[string]rawMySQL{"idle": idle, "framed": framed} {
			number, message := session.farewell(t, what == "framed")
			if number != 1053 || !strings.HasPrefix(message, "credproxy: ") || !strings.Contains(message, "not the writer any more") {
				t.Errorf("%s: error %d %q", what, number, message)
			}
		}
		if err := <-ended; err == nil {
			t.Error("a session on the old server outlived the drain")
		}
		if took := time.Since(c.demoted); took > offTheOldServer {
			t.Errorf("the last session left after %v", took)
		}
		sidecar.Await(t, "end of the sessions at the old server", func() bool {
			n, err := s.sessions(t.Context(), s.servers[old], appUser)
			must(t, err)
			return n == 0
		})
		if took := time.Since(c.demoted); took > offTheOldServer {
			t.Errorf("the last session of the old server ended after %v", took)
		}
		if at := s.mySQL(t).host(t); at != c.to {
			t.Errorf("at %s, want the new source, %s", at, c.to)
		}
	}, "failover: {drain: 3s}")
}

// TestMySQLClientsOfManyKinds has clients with flags that change what is on the wire log in
// where the role is asked for, before a failover and after it.
func TestMySQLClientsOfManyKinds(t *testing.T) {
	kinds := map[string][]mysql.Option{
		"plain":           nil,
		"compressed":      {mysql.EnableCompression(true)},
		"many statements": {func(c *mysql.Config) error { c.MultiStatements = true; return nil }},
		"found rows":      {func(c *mysql.Config) error { c.ClientFoundRows = true; return nil }},
		"no database":     {func(c *mysql.Config) error { c.DBName = ""; return nil }},
		"latin1":          {func(c *mysql.Config) error { c.Collation = "latin1_swedish_ci"; return nil }},
		"binary":          {func(c *mysql.Config) error { c.Collation = "binary"; return nil }},
	}
	eachMySQL(t, func(t *testing.T, s *stand) {
		for _, changed := range []bool{false, true} {
			if changed {
				s.handOver(t)
			}
			for what, options := range kinds {
				session := s.mySQL(t, options...)
				var rows, found int
				must(t, session.QueryRowContext(t.Context(), "SELECT ROW_COUNT()").Scan(&rows))
				must(t, session.QueryRowContext(t.Context(), "SELECT @@warning_count").Scan(&found))
				if rows != 0 || found != 0 {
					t.Errorf("%s: ROW_COUNT() is %d, warnings %d in a new session", what, rows, found)
				}
				must(t, session.QueryRowContext(t.Context(), "SELECT 1 FROM DUAL WHERE @@global.read_only = 0").Scan(&found))
			}
			for _, args := range [][]string{nil, {"--default-character-set=utf8mb4"}, {"--init-command=SET @a = 1"}} {
				d := s.door(t)
				my := s.servers[s.writer].(*servers.MySQL)
				args = append([]string{"--host=" + d.host, "--port=" + d.port, "--user=anybody", "--skip-ssl"}, args...)
				if my.Flavor == "mysql" {
					args[3] = "--ssl-mode=DISABLED"
				}
				out, err := program(t, my, args...)
				if err != nil || strings.TrimSpace(out) != s.writer {
					t.Errorf("%q: %s (%v), want %s", args, out, err, s.writer)
				}
			}
		}
	})
}

// TestMySQLPooledSessions has sessions used again, none of them at a demoted server.
func TestMySQLPooledSessions(t *testing.T) {
	eachMySQL(t, func(t *testing.T, s *stand) {
		var hosts []string
		for range 3 {
			for range 4 {
				session := s.mySQL(t)
				hosts = append(hosts, session.host(t))
				must(t, session.Close())
			}
			if i := slices.IndexFunc(hosts, func(host string) bool { return host != s.writer }); i >= 0 {
				t.Errorf("at %s, want %s", hosts[i], s.writer)
			}
			hosts = nil
			c := s.handOver(t)
			sidecar.Await(t, "end of the sessions at the old server", func() bool {
				n, err := s.sessions(t.Context(), s.servers[c.from], appUser)
				must(t, err)
				return n == 0
			})
			s.heal(t)
		}
	}, "pool: {mode: session, warm: 1}")
}

// program runs the server's own client, which prints at which server it is.
func program(t *testing.T, my *servers.MySQL, args ...string) (string, error) {
	t.Helper()
	path, err := my.Program(map[string]string{"mysql": "mysql", "mariadb": "mariadb"}[my.Flavor])
	must(t, err)
	out, err := exec.CommandContext(t.Context(), path, append(args, "--batch", "--skip-column-names", "--execute=SELECT @@bind_address")...).Output()
	return string(out), err
}

// TestMySQLWithoutWriter has all servers be readers: who logs in hears so in the end, and the
// credential is none the worse for it.
func TestMySQLWithoutWriter(t *testing.T) {
	eachMySQL(t, func(t *testing.T, s *stand) {
		s.mySQL(t).host(t)
		must(t, s.demote(t.Context(), s.servers[s.writer], s.servers[s.replica]))
		sidecar.Await(t, "loss of the writer", func() bool { return strings.Contains(s.proxy.Log(), "the writer is gone") })
		_, err := s.connect(t.Context(), s.door(t))
		said, ok := errors.AsType[*mysql.MySQLError](err)
		if !ok || said.Number != 2003 || string(said.SQLState[:]) != "08S01" ||
			!strings.Contains(said.Message, nameA+":") || !strings.Contains(said.Message, nameB+":") || !strings.Contains(said.Message, "is a reader") {
			t.Errorf("a login hears %v", err)
		}
		if strings.Contains(s.proxy.Log(), "rejected") {
			t.Error("the credential was blamed")
		}
		c := s.promote(t, time.Now())
		if at := s.mySQL(t).host(t); at != c.to {
			t.Errorf("at %s, want %s", at, c.to)
		}
	}, "limits: {login_timeout: 2s}")
}
