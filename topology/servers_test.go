package topology

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/tracing"
)

// fleet is an Engine whose servers are what a test says.
type fleet struct {
	mu     sync.Mutex
	hosts  map[string]*host // by name
	dns    string           // the host that the name db leads to
	logins int
}

// host is one server.
type host struct {
	addr     netip.AddrPort
	role     Role
	starts   int   // changes the id
	fails    error // of logins, and of what is asked
	silent   bool  // nothing answers
	askFails error // of the question for the others, which costs the session
	askSlow  time.Duration
	knows    []Instance
	deploys  Switchover
	green    *Place
	partial  bool
	sessions int // of the monitor
}

var errPassword = secrets.MarkRejected(&fault.Error{Kind: fault.CredentialRejected, Message: "refused"})

func newFleet() *fleet {
	return &fleet{dns: "a", hosts: map[string]*host{
		"a": {addr: netip.MustParseAddrPort("10.0.0.1:1"), role: Writer},
		"b": {addr: netip.MustParseAddrPort("10.0.0.2:1"), role: Reader},
	}}
}

func (c *fleet) change(f func(a, b *host)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.hosts["a"], c.hosts["b"])
}

func (c *fleet) at(r Route) *host {
	name := r.Host
	if name == "db" || name == "" {
		name = c.dns
	}
	for other, h := range c.hosts {
		if h.addr == r.Addr {
			name = other
		}
	}
	return c.hosts[name]
}

// Name implements Engine.
func (c *fleet) Name(*secrets.Credential) (Place, error) { return Place{"db", 1}, nil }

// Open implements Engine.
func (c *fleet) Open(ctx context.Context, _ *secrets.Credential, _ string, to Route) (Conn, error) {
	c.mu.Lock()
	h := c.at(to)
	c.logins++
	fails, silent := h.fails, h.silent
	if fails == nil && !silent {
		h.sessions++
	}
	c.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, &fault.Error{Kind: fault.Unreachable, Message: to.Host + " does not answer", Err: ctx.Err()}
	}
	if fails != nil {
		return nil, fails
	}
	return &conn{c: c, h: h}, nil
}

type conn struct {
	c      *fleet
	h      *host
	broken bool
}

func (c *conn) Role(ctx context.Context) (Role, string, error) {
	c.c.mu.Lock()
	h := *c.h
	c.c.mu.Unlock()
	if h.silent {
		<-ctx.Done()
		return Unknown, "", ctx.Err()
	}
	if c.broken {
		return Unknown, "", errors.New("the connection is broken")
	}
	return h.role, h.addr.String() + strings.Repeat("'", h.starts), h.fails
}

func (c *conn) Ask(ctx context.Context, _ Place, _ ...Place) (Answer, error) {
	c.c.mu.Lock()
	slow := c.h.askSlow
	c.c.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		c.broken = true
		return Answer{}, ctx.Err()
	}
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	if c.h.askFails != nil {
		c.broken = true
		return Answer{}, c.h.askFails
	}
	return Answer{Self: c.h.role, Instances: c.h.knows, Switchover: c.h.deploys, Green: c.h.green, Partial: c.h.partial}, nil
}

func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.h.addr) }

func (c *conn) Close() error {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.h.sessions--
	return nil
}

// once is Credentials that offer one credential.
type once struct{}

func (once) Login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error {
	return try(ctx, secrets.NewCredential("app", "planted"))
}

// watched is a Servers that runs over a fleet, and what it did.
type watched struct {
	*Servers
	*fleet
	mu      sync.Mutex
	changes int
	left    int
	found   int
	ended   map[netip.AddrPort][]bool // by the address of the server: only the idle sessions that were there from the beginning
	new     map[netip.AddrPort]int    // how often sessions were ended that have just begun
}

// watch runs f with a Servers that watches c, in a bubble.
func watch(t *testing.T, c *fleet, f func(t *testing.T, w *watched), change ...func(*Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{fleet: c, ended: map[netip.AddrPort][]bool{}, new: map[netip.AddrPort]int{}}
		began := time.Now()
		o := Options{
			Role: Writer, Hold: 30 * time.Second, Hosts: []Place{{Host: "b"}}, Monitor: time.Second, Drain: 5 * time.Second, LoginTimeout: 15 * time.Second,
			Log: zap.NewNop(), Database: func(*secrets.Credential) string { return "" },
			Changed: func(time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.changes++ },
			Found:   func() { w.mu.Lock(); defer w.mu.Unlock(); w.found++ },
			Left:    func() { w.mu.Lock(); defer w.mu.Unlock(); w.left++ },
			End: func(_ error, onlyIdle bool, at func(net.Addr, time.Time) bool) {
				w.mu.Lock()
				defer w.mu.Unlock()
				for _, h := range c.hosts {
					if at(net.TCPAddrFromAddrPort(h.addr), began) {
						w.ended[h.addr] = append(w.ended[h.addr], onlyIdle)
					}
					if at(net.TCPAddrFromAddrPort(h.addr), time.Now()) {
						w.new[h.addr]++
					}
				}
			},
		}
		for _, f := range change {
			f(&o)
		}
		w.Servers = New(o)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { w.Run(ctx, once{}) })
		w.SetEngine(c)
		synctest.Wait()
		f(t, w)
		cancel()
		running.Wait()
		for name, h := range c.hosts {
			if h.sessions != 0 {
				t.Errorf("%d sessions at %s are left open", h.sessions, name)
			}
		}
	})
}

func isMissed(err error) bool {
	_, ok := errors.AsType[*missed](err)
	return ok
}

// login logs in as a client does, and returns the address that it got to.
func (w *watched) login(ctx context.Context) (addr netip.AddrPort, err error) {
	err = w.Login(ctx, 10*time.Second, func(ctx context.Context) error {
		route := w.Route(Place{"db", 1}, Place{})
		c, err := w.Open(ctx, nil, "", route)
		if err != nil {
			return cmp.Or(context.Cause(ctx), Missed(route, err))
		}
		defer c.Close()
		role, _, err := c.Role(ctx)
		if err != nil {
			return Missed(route, err)
		}
		addr = addrPort(c.RemoteAddr())
		return w.Verify(route, role, c.RemoteAddr())
	})
	return addr, err
}

func (w *watched) wantAt(t *testing.T, name string) {
	t.Helper()
	addr, err := w.login(t.Context())
	if want := w.hosts[name].addr; err != nil || addr != want {
		t.Errorf("login got to %s (%v), want %s", addr, err, want)
	}
}

func TestFailover(t *testing.T) {
	for _, tt := range []struct {
		name    string
		lose    func(a *host)
		promote time.Duration // after that
		within  time.Duration // of the promotion
	}{
		{"demoted", func(a *host) { a.role = Reader }, 0, 1100 * time.Millisecond},
		{"demoted, no writer for a while", func(a *host) { a.role = Reader }, 4 * time.Second, 200 * time.Millisecond},
		{"refuses", func(a *host) { a.fails = &fault.Error{Kind: fault.Unreachable, Message: "a refuses"} }, 3 * time.Second, 200 * time.Millisecond},
		{"silent", func(a *host) { a.silent = true }, 0, 2600 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			watch(t, newFleet(), func(t *testing.T, w *watched) {
				w.wantAt(t, "a")
				w.change(func(a, _ *host) { tt.lose(a) })
				time.Sleep(tt.promote)
				w.change(func(_, b *host) { b.role = Writer })
				promoted := time.Now()
				w.wantAt(t, "b")
				if took := time.Since(promoted); took > tt.within {
					t.Errorf("took %v", took)
				}
				w.change(func(a, _ *host) { a.fails, a.silent, a.role = nil, false, Reader })
				time.Sleep(10 * time.Second)
				w.wantAt(t, "b")
				w.wantEnded(t, "a")
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.changes != 1 {
					t.Errorf("%d changes", w.changes)
				}
			})
		})
	}
}

// TestNameFlaps has the name lead to a reader half of the time.
func TestNameFlaps(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		for i := range 60 {
			w.fleet.mu.Lock()
			w.dns = []string{"a", "b"}[i%2]
			w.fleet.mu.Unlock()
			w.wantAt(t, "a")
			time.Sleep(500 * time.Millisecond)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.ended) > 0 || w.changes > 0 {
			t.Errorf("ended %v, %d changes", w.ended, w.changes)
		}
	})
}

// TestNoWriter has a login wait in vain, and say whom credproxy asked.
func TestNoWriter(t *testing.T) {
	c := newFleet()
	c.hosts["a"].fails = &fault.Error{Kind: fault.Unreachable, Message: "the database at a refuses connections"}
	watch(t, c, func(t *testing.T, w *watched) {
		began := time.Now()
		full := tracing.NewLogin(began) // of spans, so that nobody listens any more
		for range 300 {
			tracing.Start(full.Context(t.Context()), "dial")
		}
		time.AfterFunc(time.Second, func() { // news, which change nothing
			w.Servers.mu.Lock()
			defer w.Servers.mu.Unlock()
			w.tell()
		})
		_, err := w.login(full.Context(t.Context()))
		if waits := full.End(err).LeftOut - 45; waits != 1 {
			t.Errorf("one wait began %d spans", waits)
		}
		e := fault.As(err)
		if e.Kind != fault.Unreachable || !strings.Contains(e.Message, "db:1 (the database at a refuses connections)") || !strings.Contains(e.Message, "b:1 is a reader") {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		left := errors.New("left")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(left) })
		traced := tracing.NewLogin(time.Now())
		if _, err := w.login(traced.Context(ctx)); err != left {
			t.Errorf("client left: %v", err)
		}
		if spans := traced.End(left).Spans; len(spans) != 2 || spans[1].Name != "wait for server" || spans[1].Err != left {
			t.Errorf("client left: %+v", spans)
		}
		w.change(func(a, _ *host) { a.fails = nil })
		w.wantAt(t, "a")
	})
}

// TestRestart has the writer restart, or another one answer at its address: nobody who connects then is cut off, and
// those who were there before are, since the other one may have left them at the one before.
func TestRestart(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		w.change(func(a, _ *host) { a.fails = &fault.Error{Kind: fault.Unreachable, Message: "a refuses"} })
		time.Sleep(5 * time.Second)
		w.change(func(a, _ *host) { a.fails, a.starts = nil, 1 })
		w.wantAt(t, "a")
		time.Sleep(10 * time.Second)
		w.wantEnded(t, "a")
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.changes > 0 || w.left != 1 || len(w.new) > 0 {
			t.Errorf("%d changes, left %d times, ended that had just begun %v", w.changes, w.left, w.new)
		}
	})
}

// wantEnded has all sessions end that were at one server from the beginning, and none elsewhere.
func (w *watched) wantEnded(t *testing.T, name string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	ended := w.ended[w.hosts[name].addr]
	if len(ended) == 0 || !ended[0] || ended[len(ended)-1] || len(w.ended) != 1 {
		t.Errorf("ended %v, want all at %s", w.ended, w.hosts[name].addr)
	}
}

// TestLateVerdict has a login find a writer that is none any more when it says so.
func TestLateVerdict(t *testing.T) {
	watch(t, newFleet(), func(t *testing.T, w *watched) {
		route, a := w.Route(Place{"db", 1}, Place{}), net.TCPAddrFromAddrPort(w.hosts["a"].addr)
		if err := w.Verify(route, Writer, a); err != nil {
			t.Error(err)
		}
		w.change(func(a, b *host) { a.role, b.role = Reader, Writer })
		w.wantAt(t, "b")
		if err := w.Verify(route, Writer, a); !isMissed(err) {
			t.Errorf("late: %v", err)
		}
		if err := w.Verify(w.Route(Place{"db", 1}, Place{}), Reader, a); !isMissed(err) {
			t.Errorf("a reader: %v", err)
		}
	})
}

// TestCredentialRefused has servers refuse the credential: that is the logins' own to say,
// and a standby that lags behind a rotation proves nothing.
func TestCredentialRefused(t *testing.T) {
	c := newFleet()
	c.hosts["b"].fails = errPassword
	watch(t, c, func(t *testing.T, w *watched) {
		w.wantAt(t, "a")
		w.change(func(a, _ *host) { a.fails = errPassword })
		time.Sleep(3 * time.Second)
		began := time.Now()
		err := w.Login(t.Context(), 10*time.Second, func(context.Context) error { return errPassword })
		if err != errPassword || time.Since(began) > 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
