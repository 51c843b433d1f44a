package failover_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestVanishedWriter has the writer's machine vanish without a word, and its replica take
// over: clients in a statement and idle ones hear of it, new ones get the new writer.
func TestVanishedWriter(t *testing.T) {
	const serverTimeout, more = 2 * time.Second, 2 * time.Second
	for _, e := range engines() {
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			s := newPair(t, e).run(t, roleWriter("limits: {server_timeout: 2s}")...)
			coming, kept := writeTo(t, e, s.door(t), false), writeTo(t, e, s.door(t), true)
			var idle net.Conn
			d := s.door(t)
			d.dialled = func(c net.Conn) { idle = c }
			session, err := e.connect(t.Context(), d)
			must(t, err)
			defer session.close()
			awaitWrites(t, s.writer, coming, kept)
			before, keptBefore := coming.now(), kept.now()
			c := s.vanish(t)
			must(t, idle.SetReadDeadline(time.Now().Add(time.Minute)))
			told, err := io.ReadAll(idle)
			if !strings.Contains(string(told), "credproxy: ") {
				t.Errorf("an idle client hears %q, %v", told, err)
			}
			awaitWrites(t, c.to, coming, kept)
			c.judge(t, "coming", coming.since(before))
			c.judge(t, "kept", kept.since(keptBefore))
			heard, late := 0, time.Duration(0)
			for _, v := range kept.since(keptBefore) {
				if v.host == c.from && v.err != nil {
					heard, late = heard+1, max(late, v.ended.Sub(c.demoted))
				}
			}
			t.Logf("%d clients in a statement heard of it, after %v at most; the first write of those who come: after %v", heard, late, measure(c, coming.since(before)).away)
			if soak(t) > 0 && late > serverTimeout+more {
				t.Errorf("clients in a statement heard of it after %v", late)
			}
		})
	}
}
