package integration_test

import (
	"fmt"
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestCancelAfterReload has a client cancel its query after a reload that rebuilt all of
// its database, and after one that took the database out and gave another its listener.
func TestCancelAfterReload(t *testing.T) {
	listener := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	limit := 100
	config := func(s *reloadStand, name string) string {
		limit++
		return fmt.Sprintf("  - {name: %s, engine: postgres, listen: %q, credentials: {secrets_manager: {secret_id: prod/main}}, tls: %s, limits: {max_connections: %d}}\n",
			name, listener, tlsYAML("", s.pg.CAFile), limit)
	}
	s := newReloadStand(t, func(s *reloadStand) string { return config(s, "main") })
	conn := connect(t, s.Addr(t, "main"), "postgres")
	for i, name := range []string{"main", "main", "renamed"} {
		done := query(t, s.pg, conn, sleeping)
		s.reload(t, config(s, name), fmt.Sprintf(`"limit": %d,`, limit), `"name": "`+name+`"`)
		if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
			t.Error(err)
		}
		cancelled(t, done)
		if got := forwardedCancels(t, s.Proxy); got != float64(i+1) {
			t.Errorf("%v cancels forwarded, want %d", got, i+1)
		}
	}
}

// forwardedCancels counts those of all databases.
func forwardedCancels(t *testing.T, p *sidecar.Proxy) (n float64) {
	t.Helper()
	for _, name := range []string{"main", "renamed"} {
		if got, err := p.Metric(cancels, fmt.Sprintf("database=%q", name), forwarded); err == nil {
			n += got
		}
	}
	return n
}
