package pool_test

import (
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

const pid = "SELECT pg_backend_pid()::text"

// TestReuse has one client follow another: the next one gets the session, as long as it asks
// for the same.
func TestReuse(t *testing.T) {
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18})
	must(t, pg.CreateRole(t.Context(), "app", appPassword))
	s := postgresStand(t, pg, "pool: {mode: session, max_idle: 5}")
	first := s.connect(t)
	one := ask(t, first, pid)
	s.leave(t, first)
	for range 3 {
		next := s.connect(t)
		if got := ask(t, next, pid); got != one {
			t.Errorf("a client that asks for the same is on %s, want %s", got, one)
		}
		other := s.connect(t)
		if got := ask(t, other, pid); got == one {
			t.Error("two clients have one session")
		}
		must(t, other.Close(t.Context()))
		sidecar.Await(t, "end of the other", func() bool { return s.metric(t, "in_use") == 1 })
		s.leave(t, next) // so that it is the one that was used last
	}
	other := s.connect(t, "application_name=other")
	if got := ask(t, other, "SELECT current_setting('application_name')"); got != "other" {
		t.Errorf("application_name is %q", got)
	}
	s.leave(t, other)
	if n := s.metric(t, "reused_total"); n < 4 {
		t.Errorf("%d sessions were used again", n)
	}
}
