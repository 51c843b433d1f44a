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
func (s wireStand) login(t *testing.T, through bool, caps uint64) *rawMySQL {
	t.Helper()
	h := mysqlHello{caps: usualCaps | capConnectWithDB | caps, charset: 45, database: "app", plugin: "caching_sha2_password"}
	h.attrs = []byte("\x0cprogram_name\x04wire")
	if through {
		h.user = "anybody"
		return rawLogin(t, s.addr, h)
	}
	h.user = "direct"
	return rawLogin(t, s.my.Addr(), h)
}

// same runs f through credproxy and directly: what it returns, beside the name of
// the user, must be the same. It returns that.
func (s wireStand) same(t *testing.T, caps uint64, f func(c *rawMySQL) string) string {
	t.Helper()
	through := f(s.login(t, true, caps))
	if direct := f(s.login(t, false, caps)); through != direct {
		t.Errorf("%q\nbut directly\n%q", through, direct)
	}
	return through
}

// Every packet that a server sends in a session is the server's own, its number
// included.
func TestMySQLWire(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		o := servers.MySQLOptions{Flavor: flavor, NoTLS: true, Settings: map[string]string{"interactive_timeout": "4321"}}
		s := wireStand{newMySQLStand(t, o, "", "tls: {mode: disable}")}
		if err := s.my.CreateUser(t.Context(), "direct", "", ""); err != nil {
			t.Fatal(err)
		}
		// Who has no right to a database is not told that it does not exist.
		const sql = "CREATE TABLE app.t (n int PRIMARY KEY); GRANT ALL ON absent.* TO app; GRANT ALL ON absent.* TO direct"
		if err := s.my.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		t.Run("interactive", s.interactive)
		t.Run("session tracking", s.sessionTracking)
		t.Run("errors", s.errors)
		t.Run("query attributes", s.queryAttributes)
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

func (s wireStand) unknownDatabase(t *testing.T) {
	got := s.same(t, 0, func(c *rawMySQL) string {
		p := c.changeUser(c.hello.user, "absent")
		return fmt.Sprintf("%s, then %q", mysqlError(p), c.rest())
	})
	if want := `1049 (42000): Unknown database 'absent', then ""`; got != want {
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
