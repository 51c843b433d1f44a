package pool_test

import (
	"testing"

	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// server is one that can be ended.
type server interface {
	Stop()
	Kill() error
}

// TestServerRestarts has another server take the place of the one whose sessions are kept,
// after an end in order and after a crash: their next clients notice nothing.
func TestServerRestarts(t *testing.T) {
	ca, err := pki.NewCA("pool")
	must(t, err)
	const pool = "pool: {mode: session, max_idle: 3}"
	t.Run("postgres", func(t *testing.T) {
		port, err := servers.FreePort()
		must(t, err)
		run := func() *servers.Postgres {
			pg, err := servers.StartPostgres(t.Context(), servers.PostgresOptions{Version: 18, Port: port, CA: ca})
			must(t, err)
			t.Cleanup(pg.Stop)
			must(t, pg.CreateRole(t.Context(), "app", appPassword))
			return pg
		}
		first := run()
		s := postgresStand(t, first, pool)
		restarts(t, s, first, func() server { return run() }, func() visitor { return s.visit(t) })
	})
	eachFlavor(t, func(t *testing.T, flavor string) {
		port, err := servers.FreePort()
		must(t, err)
		run := func() *servers.MySQL {
			my, err := servers.StartMySQL(t.Context(), servers.MySQLOptions{Flavor: flavor, Port: port, CA: ca})
			must(t, err)
			t.Cleanup(my.Stop)
			must(t, my.CreateUser(t.Context(), "app", appPassword, "", "ALL ON *.*"))
			return my
		}
		first := run()
		s := mySQLStand(t, first, pool)
		restarts(t, &s.stand, first, func() server { return run() }, func() visitor { return s.visit(t) })
	})
}

func restarts(t *testing.T, s *stand, now server, next func() server, visit func() visitor) {
	for i, end := range []func(server){server.Stop, func(s server) { must(t, s.Kill()) }} {
		var kept []visitor
		for range 3 {
			kept = append(kept, visit())
		}
		for _, v := range kept {
			v.leave()
		}
		sidecar.Await(t, "three sessions that are kept", func() bool { return s.metric(t, "idle") == 3 })
		end(now)
		now = next()
		var after []visitor
		for range 4 {
			after = append(after, visit())
		}
		if n := s.metric(t, "closed_total", `reason="server"`); n != 3*(i+1) {
			t.Errorf("%d sessions were ended by the server", n)
		}
		for _, v := range after {
			v.leave()
		}
		sidecar.Await(t, "end of their use", func() bool { return s.metric(t, "in_use") == 0 })
	}
}
