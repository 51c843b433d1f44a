package pool_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestMySQLLimit has more clients than there may be server sessions: who waits in vain hears
// error 1040, and who waits gets the session of who leaves.
func TestMySQLLimit(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := mySQLStand(t, runMySQL(t, flavor), "pool: {mode: session, max_server_connections: 1, wait_timeout: 1s}")
		first := s.open(t, nil)
		one := first.ask(t, connectionID)
		c := mysql.NewConfig()
		c.User, c.Net, c.Addr = "anybody", "tcp", s.addr
		connector, err := mysql.NewConnector(c)
		must(t, err)
		_, err = connector.Connect(t.Context())
		said, ok := errors.AsType[*mysql.MySQLError](err)
		if !ok || said.Number != 1040 || !strings.Contains(said.Message, "pool.max_server_connections") {
			t.Errorf("one client too many hears %v", err)
		}
		got := make(chan string, 1)
		go func() {
			conn, err := connector.Connect(t.Context())
			if err != nil {
				got <- err.Error()
				return
			}
			_ = conn.Close()
			got <- ""
		}()
		sidecar.Await(t, "client that waits", func() bool { return s.metric(t, "waiting") == 1 })
		first.close(t)
		if said := <-got; said != "" {
			t.Errorf("who waited hears %s", said)
		}
		sidecar.Await(t, "end of its use", func() bool { return s.metric(t, "in_use") == 0 })
		other := s.open(t, func(c *mysql.Config) { c.DBName = "mysql" }) // a session of another key makes room
		if got := other.ask(t, connectionID); got == one {
			t.Error("it has the session of another key")
		}
		s.leave(t, other)
	})
}

// TestMySQLRotation rotates the credential, and takes AWS away: sessions of the old one are
// used no more, and those that are kept need no AWS.
func TestMySQLRotation(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := runMySQL(t, flavor)
		s := mySQLStand(t, my, "pool: {mode: session}")
		idle, used := s.open(t, nil), s.open(t, nil)
		one, two := idle.ask(t, connectionID), used.ask(t, connectionID)
		idle.close(t)
		sidecar.Await(t, "idle session", func() bool { return s.metric(t, "idle") == 1 })
		must(t, my.CreateUser(t.Context(), "other", appPassword, "", "ALL ON *.*"))
		s.aws.PutSecret(secretName, mySQLSecret(my, "other", appPassword), "AWSCURRENT")
		must(t, my.SetPassword(t.Context(), "app", "planted-Gone-2"))
		finds := s.open(t, func(c *mysql.Config) { c.DBName = "mysql" }) // its login is refused, and made again
		finds.close(t)
		sidecar.Await(t, "end of the session of before", func() bool { return s.metric(t, "closed_total", "reason", "retired") == 2 }) // and of the one whose place was taken before
		s.leave(t, used)
		next := s.open(t, nil)
		if id, user := next.ask(t, connectionID), next.ask(t, "SELECT CURRENT_USER()"); id == one || id == two || user != "other@%" {
			t.Errorf("after the rotation: connection %s (before: %s, %s), user %s", id, one, two, user)
		}
		three := next.ask(t, connectionID)
		s.leave(t, next)
		if n := s.metric(t, "closed_total", "reason", "retired"); n != 3 {
			t.Errorf("%d sessions of before were closed", n)
		}
		s.aws.Inject(awsstub.Any, awsstub.Fault{Kind: awsstub.Drop})
		for range 3 {
			c := s.open(t, nil)
			if got := c.ask(t, connectionID); got != three {
				t.Errorf("without AWS: connection %s, want %s", got, three)
			}
			s.leave(t, c)
		}
	})
}

// TestMySQLServerEnds has the server end a session that is kept: by KILL, and for
// wait_timeout.
func TestMySQLServerEnds(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := runMySQL(t, flavor)
		s := mySQLStand(t, my, "pool: {mode: session}")
		for _, end := range []func(id string){
			func(id string) { must(t, my.Exec(t.Context(), "KILL "+id)) },
			func(string) {},
		} {
			c := s.open(t, nil)
			id := c.ask(t, connectionID)
			s.leave(t, c)
			end(id)
			sidecar.Await(t, "end of the session", func() bool { return s.metric(t, "idle") == 0 })
			next := s.open(t, nil)
			if got := next.ask(t, connectionID); got == id {
				t.Error("a session that is gone was used again")
			}
			s.leave(t, next)
			must(t, my.Exec(t.Context(), "SET GLOBAL wait_timeout = 1"))
			last := s.open(t, nil) // from its reset on the session has the new time
			s.leave(t, last)
		}
		if n := s.metric(t, "closed_total", "reason", "server"); n != 2 {
			t.Errorf("%d sessions were ended by the server", n)
		}
	})
}

// TestMySQLInitConnect has the server run statements at each login, which no reset runs
// again: no session is used again then.
func TestMySQLInitConnect(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})
		must(t, my.CreateUser(t.Context(), "app", appPassword, ""))
		must(t, my.Exec(t.Context(), "SET GLOBAL init_connect = 'SET @greeted = 1'"))
		s := mySQLStand(t, my, "pool: {mode: session}")
		seen := map[string]bool{}
		for range 3 {
			c := s.open(t, nil)
			if got := c.ask(t, "SELECT @greeted"); got != "1" {
				t.Errorf("@greeted is %s", got)
			}
			seen[c.ask(t, connectionID)] = true
			s.leave(t, c)
		}
		if len(seen) != 3 {
			t.Errorf("sessions were used again: %v", seen)
		}
	})
}

// TestMySQLWarm has sessions opened ahead of the clients that want them.
func TestMySQLWarm(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := mySQLStand(t, runMySQL(t, flavor), "pool: {mode: session, warm: 2}")
		first := s.open(t, nil)
		sidecar.Await(t, "sessions opened ahead", func() bool { return s.metric(t, "idle") == 2 })
		next := s.open(t, nil)
		if got := next.ask(t, "SELECT CONCAT(DATABASE(), @@character_set_client)"); got != "apputf8mb4" {
			t.Errorf("database and character set are %s", got)
		}
		if n := s.metric(t, "reused_total"); n != 1 {
			t.Errorf("%d sessions were used again", n)
		}
		next.close(t)
		first.close(t)
	})
}

// TestMySQLNoDatabase has clients without a database follow each other: who has chosen one
// leaves none behind.
func TestMySQLNoDatabase(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := mySQLStand(t, runMySQL(t, flavor), "pool: {mode: session}", "database: none")
		seen := map[string]int{}
		for _, use := range []string{"DO 0", "USE mysql", "DO 0", "DO 0"} {
			c := s.open(t, nil)
			if got := c.ask(t, "SELECT DATABASE()"); got != "NULL" {
				t.Errorf("database %s", got)
			}
			seen[c.ask(t, connectionID)]++
			exec(t, c, use)
			s.leave(t, c)
		}
		if len(seen) != 2 {
			t.Errorf("clients by session: %v, want two sessions with two each", seen)
		}
	})
}

// TestMySQLDatabase has clients follow each other in a database with the server's character set
// and in one with its own: whatever the one before did, each finds the database and its
// character set. A session of a database whose character set was changed meanwhile is not one
// for who needs that.
func TestMySQLDatabase(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := runMySQL(t, flavor)
		must(t, my.Exec(t.Context(), "CREATE DATABASE latin CHARACTER SET latin1 COLLATE latin1_bin"))
		must(t, my.Exec(t.Context(), "CREATE DATABASE other CHARACTER SET latin2"))
		s := mySQLStand(t, my, "pool: {mode: session}")
		const where = "SELECT CONCAT(DATABASE(), ' ', @@collation_database)"
		for _, database := range []string{"app", "latin"} {
			in := func(c *mysql.Config) { c.DBName = database }
			direct := my.Config("app", appPassword, database)
			fresh := connectMySQL(t, direct)
			want := fresh.ask(t, where)
			fresh.close(t)
			used := map[string]bool{}
			for _, sql := range []string{"DO 0", "USE other", "DO 0", "SET collation_database = latin7_bin", "USE mysql", "DO 0"} {
				c := s.open(t, in)
				if got := c.ask(t, where); got != want {
					t.Errorf("after %s: %s, want %s", sql, got, want)
				}
				used[c.ask(t, connectionID)] = true
				exec(t, c, sql)
				s.leave(t, c)
			}
			if len(used) != 1 {
				t.Errorf("%s: %d sessions", database, len(used))
			}
			if database == "app" {
				continue
			}
			c := s.open(t, in)
			exec(t, c, "ALTER DATABASE latin CHARACTER SET latin2")
			s.leave(t, c)
			c = s.open(t, in)
			if used[c.ask(t, connectionID)] || !strings.HasPrefix(c.ask(t, where), "latin latin2_") {
				t.Errorf("after ALTER DATABASE: %s", c.ask(t, where))
			}
			s.leave(t, c)
		}
	})
}
