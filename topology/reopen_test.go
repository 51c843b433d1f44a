package topology

import (
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
)

// TestReopen has the session that watches replaced, also where none is open when that is asked
// for. No login of a client is held up by it.
func TestReopen(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		logins := func() int { w.fleet.mu.Lock(); defer w.fleet.mu.Unlock(); return w.logins }
		time.Sleep(time.Second)
		before := logins()
		w.Reopen()
		time.Sleep(3 * time.Second)
		if n := logins() - before; n != 1 {
			t.Errorf("%d logins of the monitor, want one more", n)
		}
		if s := w.Status(); !s.Trouble.IsZero() || s.Server == (Place{}) {
			t.Errorf("the server was lost: %+v", s)
		}
		w.change(func(a, _ *host) { a.fails = &fault.Error{Kind: fault.Unreachable, Message: "a refuses"} })
		time.Sleep(2 * time.Second)
		w.Reopen()
		w.change(func(a, _ *host) { a.fails = nil })
		w.wantAt(t, "a")
		time.Sleep(3 * time.Second)
		if w.Servers.mu.Lock(); w.outdated {
			t.Error("the session was not replaced once the server was back")
		}
		w.Servers.mu.Unlock()
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.changes > 0 || len(w.ended) > 0 || w.found != 2 {
			t.Errorf("%d changes, ended %v, found %d times", w.changes, w.ended, w.found)
		}
	})
}
