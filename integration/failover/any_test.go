package failover_test

import (
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestAnyFollowsTheName has clients of role any, who get the server that the name leads to
// whatever it is, as clients do who connect directly.
func TestAnyFollowsTheName(t *testing.T) {
	for _, e := range engines() {
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			s := newPair(t, e).run(t)
			clients, direct := writeTo(t, e, s.door(t), false), writeTo(t, e, s.direct(), true)
			awaitWrites(t, s.writer, clients, direct)
			n := clients.now()
			c := s.handOver(t)
			sidecar.Await(t, "visit to the demoted server", func() bool {
				_, ends := e.(postgres)
				for _, v := range clients.since(n) {
					if v.readOnly && v.host == c.from || ends && !v.in {
						return true
					}
				}
				return false
			})
			s.names.Point(clusterName, c.to)
			awaitWrites(t, c.to, clients, direct)
			s.heal(t)
			c = s.crash(t)
			s.names.Point(clusterName, c.to)
			awaitWrites(t, c.to, clients, direct)
		})
	}
}
