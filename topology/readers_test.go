package topology

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
)

// newReaders returns a fleet of the writer a and the readers b, c and d, which all name all.
func newReaders() *fleet {
	f := newFleet()
	f.dns = "b"
	f.hosts["c"] = &host{addr: netip.MustParseAddrPort("10.0.0.3:1"), role: Reader}
	f.hosts["d"] = &host{addr: netip.MustParseAddrPort("10.0.0.4:1"), role: Reader}
	f.lags(0, 0, 0)
	return f
}

// lags has all servers say how far b, c and d are behind; negative: nobody knows.
func (f *fleet) lags(b, c, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []Instance{{Place: Place{"a", 1}, Role: Writer}}
	for i, lag := range []time.Duration{b, c, d} {
		all = append(all, Instance{Place: Place{string("bcd"[i]), 1}, Role: Reader, Lag: lag})
	}
	for _, h := range f.hosts {
		h.knows = all
	}
}

func asReader(o *Options) { o.Role, o.Hosts, o.MaxLag = Reader, nil, time.Second }

// wantOf has twelve logins get to the servers named, each as often as any other.
func (w *watched) wantOf(t *testing.T, names string) {
	t.Helper()
	times := map[netip.AddrPort]int{}
	for range 12 {
		addr, err := w.login(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		times[addr]++
	}
	for name, h := range w.hosts {
		want := 0
		if strings.Contains(names, name) {
			want = 12 / len(names)
		}
		if times[h.addr] != want {
			t.Errorf("%d logins at %s, want %d", times[h.addr], name, want)
		}
	}
}

func TestReadersTakeTurns(t *testing.T) {
	watch(t, newReaders(), func(t *testing.T, w *watched) {
		w.wantOf(t, "bcd")
		w.lags(time.Second, 1001*time.Millisecond, 0)
		time.Sleep(1100 * time.Millisecond)
		w.wantOf(t, "bd")
		w.lags(0, -1, -1) // new ones, say
		time.Sleep(1100 * time.Millisecond)
		w.wantOf(t, "b")
		w.lags(-1, -1, -1) // of servers that do not say
		time.Sleep(1100 * time.Millisecond)
		w.wantOf(t, "bcd")
	}, asReader)
}

// TestReaderFails has a reader go, and one take the writer's place: nobody is sent there, and
// they come back.
func TestReaderFails(t *testing.T) {
	watch(t, newReaders(), func(t *testing.T, w *watched) {
		w.change(func(_, b *host) { b.fails = &fault.Error{Kind: fault.Unreachable, Message: "b refuses"} })
		w.become("c", Writer)
		for range 6 {
			w.wantAt(t, "d")
		}
		w.change(func(_, b *host) { b.fails = nil })
		w.become("c", Reader)
		time.Sleep(leaveOutFor)
		w.wantOf(t, "bcd")
		if w.changes != 0 || len(w.ended) != 0 {
			t.Errorf("%d changes, ended %v", w.changes, w.ended)
		}
	}, asReader)
}

// become has a server take a role.
func (w *watched) become(name string, role Role) {
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	w.hosts[name].role = role
}

// TestNoReader has no reader at all: logins wait in vain, or get the writer if they may.
func TestNoReader(t *testing.T) {
	none := func() *fleet {
		f := newReaders()
		for _, h := range f.hosts {
			h.role = Writer // of the others nobody is there
		}
		f.dns = "a"
		f.hosts["a"].knows = []Instance{{Place: Place{"a", 1}, Role: Writer}}
		return f
	}
	watch(t, none(), func(t *testing.T, w *watched) {
		began := time.Now()
		_, err := w.login(t.Context())
		if e := fault.As(err); e.Kind != fault.Unreachable || !strings.Contains(e.Message, "no reader that can be reached: ") || time.Since(began) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		w.become("b", Reader)
		w.fleet.mu.Lock()
		w.hosts["a"].knows = append(slices.Clone(w.hosts["a"].knows), Instance{Place: Place{"b", 1}, Role: Reader})
		w.fleet.mu.Unlock()
		w.wantAt(t, "b")
	}, asReader)
	watch(t, none(), func(t *testing.T, w *watched) {
		time.Sleep(time.Second)
		w.wantAt(t, "a")
	}, asReader, func(o *Options) { o.ReaderFallback = true })
}

// TestReadersOfHosts has servers that name none: each is tried, and the writer left out.
func TestReadersOfHosts(t *testing.T) {
	f := newFleet() // db leads to a
	f.hosts["c"] = &host{addr: netip.MustParseAddrPort("10.0.0.3:1"), role: Reader}
	watch(t, f, func(t *testing.T, w *watched) {
		w.wantOf(t, "bc")
	}, asReader, func(o *Options) { o.Hosts = []Place{{Host: "b"}, {Host: "c"}} })
}
