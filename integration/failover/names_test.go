package failover_test

import (
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestNamesFlap has the cluster's name take turns between the old writer and the new one
// after a failover: each kept session ends once, with the old writer, and nobody gets that.
func TestNamesFlap(t *testing.T) {
	for _, e := range engines() {
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			s := newPair(t, e).run(t, roleWriter()...)
			coming, kept := writeTo(t, e, s.door(t), false), writeTo(t, e, s.door(t), true)
			awaitWrites(t, s.writer, coming, kept)
			before, keptBefore := coming.now(), kept.now()
			c := s.handOver(t)
			s.heal(t)
			const turn = 300 * time.Millisecond
			s.names.Flap(turn, clusterName, c.from, c.to)
			until := time.Now().Add(10 * turn)
			if soak(t) > 0 {
				until = time.Now().Add(30 * time.Second)
			}
			awaitWrites(t, c.to, coming, kept)
			sidecar.Await(t, "turns of the name", func() bool { return time.Now().After(until) })
			awaitWrites(t, c.to, coming, kept)
			coming.end()
			kept.end()
			c.judge(t, "coming", coming.since(before))
			c.judge(t, "kept", kept.since(keptBefore))
			ends := map[int]int{}
			for _, v := range kept.since(keptBefore) {
				if v.in && v.err != nil {
					ends[v.client]++
				}
			}
			for client, n := range ends {
				if n > 1 {
					t.Errorf("client %d lost its session %d times", client, n)
				}
			}
			t.Logf("%d visits while the name took turns, %d kept sessions ended", len(coming.since(before)), len(ends))
		})
	}
}
