package topology

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/credproxy/credproxy/proxy/fault"
)

// TestSwitchover has a Blue/Green deployment lead from a to g, which says that it is a writer
// all the time: logins wait while it is under way, then get g, and a's sessions end.
func TestSwitchover(t *testing.T) {
	blueGreen := func() *fleet { return newFleet().with("g", "10.0.0.7:1", Writer) }
	say := (*watched).deploy
	watch(t, blueGreen(), func(t *testing.T, w *watched) {
		say(w, SwitchoverInitiated)
		time.Sleep((topologyEvery + 1) * time.Second)
		w.wantAt(t, "a")
		say(w, SwitchoverUnderWay)
		time.Sleep(200 * time.Millisecond)
		began := time.Now()
		time.AfterFunc(4*time.Second, func() { say(w, SwitchoverDone) })
		w.wantAt(t, "g")
		if took := time.Since(began); took < 4*time.Second || took > 4500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		time.Sleep(time.Minute)
		w.wantAt(t, "g")
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.changes != 1 || len(w.ended) != 1 || w.ended[w.hosts["a"].addr] == nil {
			t.Errorf("%d changes, ended %v", w.changes, w.ended)
		}
	})
	t.Run("hangs", func(t *testing.T) {
		watch(t, blueGreen(), func(t *testing.T, w *watched) {
			say(w, SwitchoverUnderWay)
			time.Sleep((topologyEvery + 1) * time.Second)
			for range 3 { // until failover.hold is over
				if _, err := w.login(t.Context()); err == nil {
					break
				}
			}
			w.wantAt(t, "a")
		})
	})
	t.Run("taken back", func(t *testing.T) {
		watch(t, blueGreen(), func(t *testing.T, w *watched) {
			say(w, SwitchoverUnderWay)
			time.Sleep((topologyEvery + 1) * time.Second)
			time.AfterFunc(time.Second, func() { say(w, NoSwitchover) })
			w.wantAt(t, "a")
		})
	})
	t.Run("long ago", func(t *testing.T) {
		watch(t, blueGreen(), func(t *testing.T, w *watched) {
			say(w, SwitchoverDone)
			time.Sleep(20 * time.Second)
			w.wantAt(t, "a")
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.changes != 0 || len(w.ended) != 0 {
				t.Errorf("%d changes, ended %v", w.changes, w.ended)
			}
		})
	})
	t.Run("the old one dies", func(t *testing.T) {
		watch(t, blueGreen(), func(t *testing.T, w *watched) {
			say(w, SwitchoverUnderWay)
			time.Sleep((topologyEvery + 1) * time.Second)
			w.change(func(a, _ *host) { a.fails = &fault.Error{Kind: fault.Unreachable, Message: "a refuses"} })
			time.AfterFunc(5*time.Second, func() { say(w, SwitchoverDone) })
			began := time.Now()
			w.wantAt(t, "g")
			if took := time.Since(began); took < 5*time.Second {
				t.Errorf("after %v, before it was done", took)
			}
		})
	})
	t.Run("done after the hold", func(t *testing.T) {
		watch(t, blueGreen(), func(t *testing.T, w *watched) {
			say(w, SwitchoverUnderWay)
			time.Sleep(40 * time.Second)
			say(w, SwitchoverDone)
			time.Sleep(5 * time.Second)
			w.wantAt(t, "g")
		})
	})
	t.Run("a question without an answer", func(t *testing.T) {
		for _, partial := range []bool{true, false} {
			watch(t, blueGreen(), func(t *testing.T, w *watched) {
				say(w, SwitchoverUnderWay)
				time.Sleep(6 * time.Second)
				w.change(func(a, _ *host) {
					if a.partial, a.deploys = partial, NoSwitchover; !partial {
						a.askFails = errors.New("too slow")
					}
				})
				time.Sleep(150 * time.Millisecond)
				w.change(func(a, _ *host) { a.partial, a.askFails = false, nil })
				say(w, SwitchoverDone)
				time.Sleep(5 * time.Second)
				w.wantAt(t, "g")
			})
		}
	})
}

// TestSwitchoverLog has the phase change all the time: the log is not full of it.
func TestSwitchoverLog(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		for i := range 200 {
			w.deploy(Switchover(i % 2)) // none or initiated
			time.Sleep(topologyEvery * time.Second)
		}
		if n := lines.FilterMessage("a Blue/Green switchover of the database").Len(); n != maxLines {
			t.Errorf("%d lines, want %d", n, maxLines)
		}
	}, func(o *Options) { o.Log = zap.New(core) })
}

// deploy has all servers say how far the Blue/Green deployment to g has got.
func (w *watched) deploy(phase Switchover) {
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	for _, h := range w.hosts {
		h.deploys, h.green = phase, &Place{"g", 1}
	}
}
