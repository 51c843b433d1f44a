package pool_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

const emergencyPassword = "planted-3mergency-1"

// glass returns the line of a database that has an emergency credential.
func glass(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "emergency.json")
	must(t, os.WriteFile(file, fmt.Appendf(nil, `{"username":"emergency","password":%q}`, emergencyPassword), 0o600))
	return fmt.Sprintf("break_glass: {file: %q, max_duration: 10m}", file)
}

// TestEmergency has an emergency begin and end: no client gets a session of the credential of
// before, whether it was idle then or in use.
func TestEmergency(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18})
		must(t, pg.CreateRole(t.Context(), "app", appPassword))
		must(t, pg.CreateRole(t.Context(), "emergency", emergencyPassword))
		s := postgresStand(t, pg, "pool: {mode: session}", glass(t))
		emergency(t, s, func() visitor { return s.visit(t) })
	})
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := runMySQL(t, flavor)
		must(t, my.CreateUser(t.Context(), "emergency", emergencyPassword, "", "ALL ON *.*"))
		s := mySQLStand(t, my, "pool: {mode: session}", glass(t))
		emergency(t, &s.stand, func() visitor { return s.visit(t) })
	})
}

func emergency(t *testing.T, s *stand, visit func() visitor) {
	say := func(body string) {
		t.Helper()
		if code, answer, err := s.proxy.Post("/break-glass", body); err != nil || code != http.StatusOK {
			t.Fatalf("%s: %d %s, %v", body, code, answer, err)
		}
	}
	begin := func() { say(`{"reason":"rotation is broken","duration":"5m"}`) }
	retired := 0
	closed := func(n int) {
		t.Helper()
		retired += n
		sidecar.Await(t, "end of the sessions of before", func() bool { return s.metric(t, "closed_total", `reason="retired"`) == retired })
	}
	for _, change := range []struct {
		before, after string
		now           func()
	}{
		{"app", "emergency", begin},
		{"emergency", "app", func() { say(`{"end":true}`) }},
		{"app", "emergency", func() { say(`{"reason":"rotation is broken","duration":"1s"}`) }},
		{"emergency", "app", func() {}}, // by itself
	} {
		used, idle := visit(), visit()
		if used.user != change.before || idle.user != change.before {
			t.Fatalf("before: %s and %s, want %s", used.user, idle.user, change.before)
		}
		idle.leave()
		sidecar.Await(t, "idle session", func() bool { return s.metric(t, "idle") >= 1 })
		change.now()
		closed(1)
		used.leave()
		closed(1)
		next := visit()
		if next.user != change.after || next.session == used.session || next.session == idle.session {
			t.Errorf("after: %s on %s, want %s on neither %s nor %s", next.user, next.session, change.after, used.session, idle.session)
		}
		next.leave()
		sidecar.Await(t, "idle session", func() bool { return s.metric(t, "idle") == 1 })
	}
}
