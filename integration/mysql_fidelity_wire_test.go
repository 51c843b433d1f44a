package integration_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
)

// wireStand is a server that also takes logins in the clear by the user direct,
// who has no password and the rights of app.
type wireStand struct {
	*mySQLStand
}

// login logs in through credproxy, or directly.
func (s wireStand) login(t *testing.T, through bool, caps uint64, configure ...func(h *mysqlHello)) *rawMySQL {
	t.Helper()
	h := mysqlHello{caps: usualCaps | capConnectWithDB | caps, charset: 45, database: "app", plugin: "caching_sha2_password"}
	h.attrs = []byte("\x0cprogram_name\x04wire")
	for _, f := range configure {
		f(&h)
	}
	if through {
		h.user = "anybody"
		return rawLogin(t, s.addr, h)
	}
	h.user = "direct"
	return rawLogin(t, s.my.Addr(), h)
}

// same runs f through credproxy and directly: what it returns, beside the name of
// the user, must be the same. It returns that.
func (s wireStand) same(t *testing.T, caps uint64, f func(c *rawMySQL) string, configure ...func(h *mysqlHello)) string {
	t.Helper()
	through := f(s.login(t, true, caps, configure...))
	if direct := f(s.login(t, false, caps, configure...)); through != direct {
		t.Errorf("%q\nbut directly\n%q", through, direct)
	}
	return through
}

// Every packet that a server sends in a session is the server's own, its number
// included.
func TestMySQLWire(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		o := servers.MySQLOptions{Flavor: flavor, NoTLS: true, Settings: map[string]string{"interactive_timeout": "4321"}}
		s := wireStand{newMySQLStand(t, o, "", mySQLLink("disable", ""))}
		if err := s.my.CreateUser(t.Context(), "direct", "", ""); err != nil {
			t.Fatal(err)
		}
		// Who has no right to a database is not told that it does not exist.
		const sql = "CREATE TABLE app.t (n int PRIMARY KEY); GRANT ALL ON absent.* TO app; GRANT ALL ON absent.* TO direct"
		if err := s.my.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		t.Run("interactive", s.interactive)
		t.Run("charset", s.charset)
		t.Run("session tracking", s.sessionTracking)
		t.Run("errors", s.errors)
		t.Run("query attributes", s.queryAttributes)
		t.Run("procedure", s.procedure)
		t.Run("unknown database", s.unknownDatabase)
		t.Run("killed", s.killed)
		t.Run("idle too long", s.idle)
		t.Run("shutdown", s.shutdown) // the last one
	})
}

// interactive clients have a timeout of their own.
func (s wireStand) interactive(t *testing.T) {
	for caps, want := range map[uint64]string{capInteractive: "4321", 0: "28800"} {
		got := s.same(t, caps, func(c *rawMySQL) string { return c.value("SELECT @@wait_timeout") })
		if got != want {
			t.Errorf("flags %#x: timeout %s, want %s", caps, got, want)
		}
	}
}

// charset: one byte names it at login, two when the user changes. Not every
// server knows every one.
func (s wireStand) charset(t *testing.T) {
	for charset, want := range map[byte]string{8: "latin1_swedish_ci", 45: "utf8mb4_general_ci", 46: "utf8mb4_bin", 255: ""} {
		got := s.same(t, 0, func(c *rawMySQL) string {
			first := c.value("SELECT @@collation_connection")
			c.hello.charset = 46
			c.changeUser(c.hello.user, "app")
			return first + " " + c.value("SELECT @@collation_connection")
		}, func(h *mysqlHello) { h.charset = charset })
		if want += " utf8mb4_bin"; !strings.HasSuffix(got, want) {
			t.Errorf("charset %d: %s, want %s", charset, got, want)
		}
	}
}

// sessionTracking has OK packets tell of everything that can be tracked.
func (s wireStand) sessionTracking(t *testing.T) {
	got := s.same(t, 0, func(c *rawMySQL) string {
		var heard bytes.Buffer
		for _, sql := range []string{
			"SET SESSION session_track_schema = ON, session_track_state_change = ON, session_track_system_variables = 'character_set_client,sql_mode,autocommit'",
			"SET SESSION session_track_transaction_info = 'CHARACTERISTICS'",
			"SET NAMES latin1", "USE information_schema", "SET TRANSACTION READ ONLY", "BEGIN", "COMMIT", "START TRANSACTION",
			"DELETE FROM app.t", "ROLLBACK", "SET @v = 1",
		} {
			c.query(sql)
			heard.Write(c.heard)
		}
		return heard.String()
	})
	for _, word := range []string{"character_set_client\x06latin1", "information_schema", "START TRANSACTION"} {
		if !strings.Contains(got, word) {
			t.Errorf("session tracking does not tell %q:\n%q", word, got)
		}
	}
}

// errors in a session do not end it.
func (s wireStand) errors(t *testing.T) {
	for sql, want := range map[string]string{
		"SELEKT":               "1064 (42000): ",
		"SELECT * FROM absent": "1146 (42S02): ",
		"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ščř', MYSQL_ERRNO = 1045": "1045 (45000): ščř",
		"SELECT POW(10, 999)": "1690 (22003): ",
	} {
		got := s.same(t, 0, func(c *rawMySQL) string {
			p := c.query(sql)
			for p[0] != 0xff { // columns may come first
				p = c.packet()
			}
			heard := fmt.Sprintf("%s; packets %q", mysqlError(p), c.heard)
			if n := c.value("SELECT 1"); n != "1" {
				t.Errorf("after %s: SELECT 1 = %s", sql, n)
			}
			return heard
		})
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", sql, got)
		}
	}
}

// queryAttributes reach a function of the server that reads them.
func (s wireStand) queryAttributes(t *testing.T) {
	if s.my.Flavor != "mysql" {
		return // MariaDB has none
	}
	if err := s.my.Exec(t.Context(), "INSTALL COMPONENT 'file://component_query_attributes'"); err != nil {
		t.Fatal(err)
	}
	got := s.same(t, capQueryAttributes, func(c *rawMySQL) string {
		const one = "\x01\x01\x00\x01\xfe\x00\x04name\x05value" // attribute and set, no NULL, types follow, a string
		c.command(comQuery, []byte(one+"SELECT mysql_query_attribute_string('name')"))
		for c.packet()[0] != 0xfe {
		}
		return string(c.heard)
	})
	if !strings.Contains(got, "\x05value") {
		t.Errorf("no attribute in %q", got)
	}
}

// procedure: what a prepared CALL gives back by the protocol itself is a result
// after those of the body.
func (s wireStand) procedure(t *testing.T) {
	const procedure = "CREATE PROCEDURE app.twice(IN a INT, OUT b INT) BEGIN SELECT a, 'body'; SET b = 2 * a; END"
	if err := s.my.Exec(t.Context(), procedure); err != nil {
		t.Fatal(err)
	}
	got := s.same(t, capPSMultiResults, func(c *rawMySQL) string {
		prepared := c.command(comStmtPrepare, []byte("CALL twice(?, ?)"))
		c.packet() // describes a
		c.packet() // and b
		// No cursor, once, no NULL, types follow, twice an INT: 21 and 0.
		const execute = "\x00\x01\x00\x00\x00\x00\x01\x03\x00\x03\x00\x15\x00\x00\x00\x00\x00\x00\x00"
		p := c.command(comStmtExecute, append(bytes.Clone(prepared[1:5]), execute...))
		for p[0] != 0 { // the OK that ends the last result
			for range p[0] {
				c.packet()
			}
			for c.packet()[0] != 0xfe {
			}
			p = c.packet()
		}
		return string(c.heard)
	})
	const out = "\x00\x00\x2a\x00\x00\x00" // a row with 42
	if !strings.Contains(got, "body") || !strings.Contains(got, out) {
		t.Errorf("no body or no OUT parameter in %q", got)
	}
}

// unknownDatabase: after a change of user that fails so, MySQL ends the session,
// and MariaDB goes on with the user and the database that were.
func (s wireStand) unknownDatabase(t *testing.T) {
	got := s.same(t, 0, func(c *rawMySQL) string {
		said := mysqlError(c.changeUser(c.hello.user, "absent"))
		if s.my.Flavor == "mysql" {
			return fmt.Sprintf("%s; %q", said, c.rest())
		}
		first := c.value("SELECT DATABASE()")
		again := c.changeUser(c.hello.user, "information_schema")
		return fmt.Sprintf("%s; %s, %q, %s", said, first, again[:1], c.value("SELECT DATABASE()"))
	})
	want := map[string]string{"mysql": `""`, "mariadb": `app, "\x00", information_schema`}[s.my.Flavor]
	if want = "1049 (42000): Unknown database 'absent'; " + want; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// killed sessions end as the server ends them.
func (s wireStand) killed(t *testing.T) {
	s.same(t, 0, func(c *rawMySQL) string {
		c.query(fmt.Sprintf("KILL %d", c.greeting.id))
		return fmt.Sprintf("%q, then %q", c.heard, c.rest())
	})
	s.same(t, 0, func(c *rawMySQL) string {
		if err := s.my.Exec(t.Context(), fmt.Sprintf("KILL %d", c.greeting.id)); err != nil {
			t.Error(err)
		}
		return string(c.rest())
	})
}

// idle: MySQL tells an idle client why it ends the session; MariaDB does not.
func (s wireStand) idle(t *testing.T) {
	got := s.same(t, 0, func(c *rawMySQL) string {
		c.exec("SET wait_timeout = 1")
		return string(c.rest())
	})
	want := map[string]string{"mysql": "\xbf\x0f#HY000", "mariadb": ""}[s.my.Flavor] // 4031
	if !strings.Contains(got, want) || (want == "") != (got == "") {
		t.Errorf("an idle client is told %q", got)
	}
}

func (s wireStand) shutdown(t *testing.T) {
	through, direct := s.login(t, true, 0), s.login(t, false, 0)
	s.my.Stop()
	if got, want := through.rest(), direct.rest(); !bytes.Equal(got, want) {
		t.Errorf("at the server's end a client is told %q, but directly %q", got, want)
	}
}
