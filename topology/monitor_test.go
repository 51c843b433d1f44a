package topology

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
)

// TestLeft has the daemon hear of a server that has lost the role before there is another,
// and one that is to get an open session wait.
func TestLeft(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		if err := w.Await(t.Context(), time.Second); err != nil {
			t.Error(err)
		}
		w.change(func(a, _ *host) { a.role = Reader })
		time.Sleep(1100 * time.Millisecond)
		w.mu.Lock()
		if w.left != 1 || w.changes != 0 {
			t.Errorf("left %d times, %d changes", w.left, w.changes)
		}
		w.mu.Unlock()
		if err := w.Await(t.Context(), time.Second); fault.As(err).Kind != fault.Unreachable {
			t.Error(err)
		}
		w.change(func(_, b *host) { b.role = Writer })
		if err := w.Await(t.Context(), time.Second); err != nil {
			t.Error(err)
		}
	})
}

// with adds a server to the fleet.
func (c *fleet) with(name, addr string, role Role) *fleet {
	c.hosts[name] = &host{addr: netip.MustParseAddrPort(addr), role: role}
	return c
}

func errUnreachable(name string) error {
	return &fault.Error{Kind: fault.Unreachable, Message: name + " refuses connections"}
}

// TestMonitorRefused has all servers refuse the monitor, at the start: it does not storm them.
func TestMonitorRefused(t *testing.T) {
	c := newFleet()
	for _, h := range c.hosts {
		h.fails = &fault.Error{Kind: fault.UpstreamRefused, Message: "too many connections"}
	}
	watch(t, c, func(t *testing.T, w *watched) {
		time.Sleep(time.Minute)
		w.fleet.mu.Lock()
		defer w.fleet.mu.Unlock()
		if w.logins > 60 {
			t.Errorf("%d logins in a minute", w.logins)
		}
	})
}

// TestRefusedAfterLoss has the writer refuse the monitor and nobody else, when its session is lost:
// clients go on as if nobody watched.
func TestRefusedAfterLoss(t *testing.T) {
	for _, silent := range []bool{true, false} {
		watch(t, newFleet(), func(t *testing.T, w *watched) {
			w.change(func(a, b *host) {
				a.fails, b.silent = &fault.Error{Kind: fault.UpstreamRefused, Message: "too many connections"}, silent
			})
			time.Sleep(1100 * time.Millisecond)
			began := time.Now()
			err := w.Login(t.Context(), 10*time.Second, func(context.Context) error { return nil })
			if took := time.Since(began); err != nil || took > firstAttempt {
				t.Errorf("with a silent server beside %t, after %v: %v", silent, took, err)
			}
		})
	}
}

// TestNewsAtOnce has logins hear of the new writer though it is slow to tell of the others, and though
// a login has found the role at an address that does not answer any more.
func TestNewsAtOnce(t *testing.T) {
	for _, tt := range []struct {
		unsure bool
		slow   time.Duration
		within time.Duration
	}{
		{false, 4 * time.Second, 200 * time.Millisecond},
		{true, 0, firstAttempt + 200*time.Millisecond},
	} {
		watch(t, newFleet().with("dead", "10.0.0.9:1", Writer), func(t *testing.T, w *watched) {
			w.hosts["dead"].silent = true
			if tt.unsure {
				if err := w.Verify(w.Route(Place{"db", 1}, Place{}), Writer, net.TCPAddrFromAddrPort(w.hosts["dead"].addr)); err != nil {
					t.Error(err)
				}
				synctest.Wait()
			}
			w.change(func(a, b *host) { a.role, b.role, b.askSlow = Reader, Writer, tt.slow })
			began := time.Now()
			w.wantAt(t, "b")
			if took := time.Since(began); took > tt.within {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestSlowTopology has the writer be too slow to tell of the others, which costs the session: it
// is no reason to have logins wait.
func TestSlowTopology(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		w.change(func(a, _ *host) { a.askSlow = time.Minute })
		for range 60 {
			time.Sleep(time.Second)
			if s := w.Status(); !s.Trouble.IsZero() || s.Server == (Place{}) {
				t.Fatalf("trouble: %+v", s)
			}
		}
		w.fleet.mu.Lock()
		logins := w.logins
		w.fleet.mu.Unlock()
		if logins > 6 {
			t.Errorf("%d logins", logins)
		}
		w.change(func(a, b *host) { a.role, b.role = Reader, Writer })
		w.wantAt(t, "b")
	})
}

// TestConfiguredFirst has servers name more others than a search asks.
func TestConfiguredFirst(t *testing.T) {
	c := newFleet()
	for i := range MaxInstances {
		name := fmt.Sprint("x", i)
		c.hosts["a"].knows = append(c.hosts["a"].knows, Instance{Place: Place{name, 1}, Role: Reader, Name: name})
		c.hosts[name] = &host{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 1), fails: errUnreachable(name)}
	}
	watch(t, c, func(t *testing.T, w *watched) {
		w.change(func(a, b *host) { a.fails, b.role = errUnreachable("a"), Writer })
		time.Sleep(2 * time.Second)
		w.wantAt(t, "b")
	})
}

// TestReaderMoves has the only reader get another address again and again.
func TestReaderMoves(t *testing.T) {
	c := newFleet()
	c.hosts["a"].role = Reader
	watch(t, c, func(t *testing.T, w *watched) {
		for i := range MaxInstances + 10 {
			w.fleet.mu.Lock()
			old := w.hosts["a"]
			old.fails = errUnreachable("old")
			w.hosts[fmt.Sprint("old", i)] = old
			w.hosts["a"] = &host{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(i)}), 1), role: Reader}
			w.fleet.mu.Unlock()
			time.Sleep(5 * time.Second)
			if s := w.Status(); s.Address != w.hosts["a"].addr {
				t.Fatalf("after %d: %+v", i, s)
			}
		}
	}, asReader)
}

// TestOneAddress has one address lead to the writer at all times: a says that it is a reader by now, then another
// writer answers there.
func TestOneAddress(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		w.change(func(a, _ *host) { a.role = Reader })
		time.Sleep(1050 * time.Millisecond)
		w.change(func(a, _ *host) { a.role, a.starts = Writer, 1 })
		w.wantAt(t, "a")
		w.mu.Lock()
		clear(w.new)
		w.mu.Unlock()
		time.Sleep(20 * time.Second)
		w.wantEnded(t, "a")
		if len(w.new) > 0 {
			t.Errorf("ended that had just begun: %v", w.new)
		}
	})
}

// TestComesBack has the writer say for a moment that it is a reader: those who are there from then on stay.
func TestComesBack(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		w.change(func(a, _ *host) { a.role = Reader })
		time.Sleep(1050 * time.Millisecond)
		w.change(func(a, _ *host) { a.role = Writer })
		w.wantAt(t, "a")
		time.Sleep(20 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if ended := w.ended[w.hosts["a"].addr]; w.changes != 0 || len(ended) == 0 || !ended[len(ended)-1] {
			t.Errorf("%d changes, ended %v", w.changes, ended)
		}
	})
}

// TestNameMoves has the credential lead elsewhere while the monitor searches at the old name, and while it
// watches a server there, whose session it gives up.
func TestNameMoves(t *testing.T) {
	for _, searching := range []bool{true, false} {
		watch(t, newFleet(), func(t *testing.T, w *watched) {
			if searching {
				w.change(func(a, _ *host) { a.fails = errUnreachable("a") })
				time.Sleep(3 * time.Second)
			}
			w.Route(Place{"new", 1}, Place{})
			w.change(func(a, _ *host) { a.fails = nil })
			time.Sleep(50 * time.Millisecond)
			if r := w.Route(Place{"new", 1}, Place{}); r.Addr == w.hosts["a"].addr {
				t.Errorf("clients of the new name go to %v", r)
			}
			time.Sleep(5 * time.Second)
		}, func(o *Options) { o.Hosts = nil })
	}
}

// TestBehindAProxy has the server change behind a session of the monitor that goes on: a login at
// another address of the proxy is at the same server.
func TestBehindAProxy(t *testing.T) {
	c := newFleet()
	watch(t, c, func(t *testing.T, w *watched) {
		w.change(func(a, _ *host) { a.starts++ })
		six := netip.MustParseAddrPort("[fd00::1]:1")
		w.fleet.mu.Lock()
		w.hosts["six"] = w.hosts["a"]
		w.fleet.mu.Unlock()
		if err := w.Verify(w.Route(Place{"db", 1}, Place{}), Writer, net.TCPAddrFromAddrPort(six)); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, there := w.Servers.left.all[six]; there || len(w.ended) > 0 {
			t.Errorf("ended %v, and those at %s", w.ended, six)
		}
	})
}

// TestOtherAddress has logins find the writer at a second address before the monitor has
// found any, and a server that is not it at a third.
func TestOtherAddress(t *testing.T) {
	c := newFleet()
	c.hosts["six"], c.hosts["other"] = &host{addr: netip.MustParseAddrPort("[fd00::1]:1")}, &host{addr: netip.MustParseAddrPort("10.0.0.9:1"), role: Writer}
	c.hosts["a"].silent = true
	watch(t, c, func(t *testing.T, w *watched) {
		route := w.Route(Place{"db", 1}, Place{})
		for _, name := range []string{"six", "other"} {
			if err := w.Verify(route, Writer, net.TCPAddrFromAddrPort(w.hosts[name].addr)); err != nil {
				t.Error(err)
			}
		}
		w.change(func(a, _ *host) { a.silent = false })
		w.fleet.mu.Lock()
		six := w.hosts["six"].addr
		w.hosts["a"].addr, w.hosts["six"] = six, w.hosts["a"] // the same server
		w.fleet.mu.Unlock()
		w.wantAt(t, "a")
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, ended := w.ended[six]; ended || len(w.ended[w.hosts["other"].addr]) == 0 {
			t.Errorf("ended %v", w.ended)
		}
	})
}

// TestNameOfAnAddress has the writer found at an address of b: it is by b's name that a search verifies it there.
func TestNameOfAnAddress(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		w.change(func(a, b *host) { a.role, b.role = Reader, Writer })
		w.wantAt(t, "b")
		b := w.hosts["b"].addr
		for _, r := range (&monitor{Servers: w.Servers}).candidates(Place{"db", 1}) {
			if r.Addr == b && r.Place != (Place{"b", 1}) {
				t.Errorf("%s is verified as %s", b, r.Place)
			}
		}
	})
}

// TestReadersBehindOneAddress has the monitor lose its session to a question and get another reader at the
// same address.
func TestReadersBehindOneAddress(t *testing.T) {
	c := newFleet()
	c.hosts["a"].role = Reader
	watch(t, c, func(t *testing.T, w *watched) {
		w.change(func(a, _ *host) { a.askSlow = time.Minute })
		for range 20 {
			time.Sleep(500 * time.Millisecond)
			if s := w.Status(); !s.Trouble.IsZero() {
				t.Fatalf("trouble: %+v", s)
			}
			w.change(func(a, _ *host) { a.starts++ })
		}
	}, asReader)
}

// TestLoginTimeout has a login take all its time, of which waiting is a part.
func TestLoginTimeout(t *testing.T) {
	c := newFleet()
	c.hosts["a"].role = Reader
	watch(t, c, func(t *testing.T, w *watched) {
		time.Sleep(time.Second)
		time.AfterFunc(3*time.Second, func() { w.change(func(_, b *host) { b.role = Writer }) })
		began := time.Now()
		err := w.Login(t.Context(), 10*time.Second, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, w.AttemptTime(began, 10*time.Second))
			defer cancel()
			select {
			case <-time.After(9 * time.Second):
			case <-ctx.Done():
			}
			return Missed(Route{}, errUnreachable("b"))
		})
		if took := time.Since(began); took != 10*time.Second || fault.As(err).Kind != fault.Unreachable {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestLoginWaitsForACredential has a login wait for a rotation to finish, which takes longer than
// login_timeout.
func TestLoginWaitsForACredential(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		began := time.Now()
		err := w.Login(t.Context(), 9*time.Second, func(ctx context.Context) error {
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil {
			t.Errorf("broken off after %v: %v", time.Since(began), err)
		}
		if left := w.AttemptTime(began, 9*time.Second); left != 3*time.Second {
			t.Errorf("%v for the attempt", left)
		}
	})
}

// TestLearnFromOtherHosts has a configuration not keep a server that it does not name.
func TestLearnFromOtherHosts(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		w.change(func(a, b *host) { a.role, b.role = Reader, Writer })
		w.wantAt(t, "b")
		o := w.o
		same := New(o)
		same.LearnFrom(w.Servers)
		o.Hosts = nil
		other := New(o)
		other.LearnFrom(w.Servers)
		at, not := same.Route(Place{"db", 1}, Place{}), other.Route(Place{"db", 1}, Place{})
		if at.Host != "b" || not.Place != (Place{}) {
			t.Errorf("same hosts: %+v, others: %+v", at, not)
		}
	})
}
