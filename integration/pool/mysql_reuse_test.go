package pool_test

import (
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/sidecar"
)

const connectionID = "SELECT CONNECTION_ID()"

// TestMySQLReuse has one client follow another: the next one gets the session, as long as it
// asks for the same.
func TestMySQLReuse(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := mySQLStand(t, runMySQL(t, flavor), "pool: {mode: session, max_idle: 5}")
		first := s.open(t, nil)
		one := first.ask(t, connectionID)
		s.leave(t, first)
		for range 3 {
			next := s.open(t, nil)
			if got := next.ask(t, connectionID); got != one {
				t.Errorf("a client that asks for the same is on %s, want %s", got, one)
			}
			other := s.open(t, nil)
			if got := other.ask(t, connectionID); got == one {
				t.Error("two clients have one session")
			}
			other.close(t)
			sidecar.Await(t, "end of the other", func() bool { return s.metric(t, "in_use") == 1 })
			s.leave(t, next) // so that it is the one that was used last
		}
		other := s.open(t, func(c *mysql.Config) { c.DBName = "mysql" })
		if got := other.ask(t, "SELECT DATABASE()"); got != "mysql" {
			t.Errorf("database %q", got)
		}
		if got := other.ask(t, connectionID); got == one {
			t.Error("a client that asks for something else has the session")
		}
		s.leave(t, other)
		if n := s.metric(t, "reused_total"); n < 5 {
			t.Errorf("%d sessions were used again", n)
		}
	})
}
