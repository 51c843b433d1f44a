package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a server session without a server.
type fake struct {
	name  string
	speak chan struct{} // closed: the server says something

	mu     sync.Mutex
	resets int
	hold   chan struct{} // Reset waits until it is closed, or its context ends
	broken bool          // Reset fails
	closed int
}

func newFake(name string) *fake { return &fake{name: name, speak: make(chan struct{})} }

func (f *fake) Reset(ctx context.Context) error {
	f.mu.Lock()
	f.resets++
	hold, broken := f.hold, f.broken
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if broken {
		return errors.New("broken")
	}
	return nil
}

func (f *fake) Watch(ctx context.Context) bool {
	select {
	case <-f.speak:
		return false
	default:
	}
	select {
	case <-f.speak:
		return false
	case <-ctx.Done():
		return true
	}
}

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

// isClosed also checks that it was closed once at most.
func (f *fake) isClosed(t *testing.T) bool {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed > 1 {
		t.Errorf("%s was closed %d times", f.name, f.closed)
	}
	return f.closed > 0
}

// house is a pool whose sessions are fakes, with what has happened in it.
type house struct {
	*Pool
	t  *testing.T
	mu sync.Mutex
	// happened counts events: "opened", "closed surplus" and so on.
	happened map[string]int
	n        int
}

// in runs f with a pool in a bubble, where time stands still while anything goes on.
func in(t *testing.T, o Options, f func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, happened: map[string]int{}}
		kinds := map[EventKind]string{Opened: "opened", Reused: "reused", Closed: "closed", Waited: "waited", Reset: "reset"}
		o.Observe = func(e Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			name := kinds[e.Kind]
			if e.Reason != "" {
				name += " " + string(e.Reason)
			}
			h.happened[name]++
		}
		if o.WaitTimeout == 0 {
			o.WaitTimeout = 30 * time.Second
		}
		if o.IdleTimeout == 0 {
			o.IdleTimeout = time.Hour
		}
		if o.MaxLifetime == 0 {
			o.MaxLifetime = 24 * time.Hour
		}
		h.Pool = New(o)
		defer h.Close()
		f(t, h)
	})
}

func (h *house) count(event string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.happened[event]
}

// want checks the numbers.
func (h *house) want(idle, inUse, waiting int) {
	h.t.Helper()
	synctest.Wait()
	if got, want := h.Stats(), (Stats{idle, inUse, waiting}); got != want {
		h.t.Errorf("%+v, want %+v", got, want)
	}
}

// get acquires a session, and opens it if there is none.
func (h *house) get(key string) (*Lease, *fake) {
	h.t.Helper()
	l, err := h.Acquire(h.t.Context(), key, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return l, h.opened(l)
}

func (h *house) opened(l *Lease) *fake {
	if c, ok := l.Conn().(*fake); ok {
		return c
	}
	h.mu.Lock()
	h.n++
	c := newFake(fmt.Sprint(l.key, h.n))
	h.mu.Unlock()
	l.Opened(c)
	return c
}

// put gives back, and waits until the pool is at rest.
func (h *house) put(leases ...*Lease) {
	for _, l := range leases {
		go l.Return()()
		synctest.Wait()
	}
}

func TestTheOneUsedLastIsUsedNext(t *testing.T) {
	in(t, Options{MaxIdle: 5}, func(t *testing.T, h *house) {
		a, first := h.get("k")
		b, second := h.get("k")
		c, third := h.get("k")
		if first == second || second == third {
			t.Error("two clients have one session")
		}
		h.want(0, 3, 0)
		h.put(b, c, a)
		h.want(3, 0, 0)
		for _, want := range []*fake{first, third, second} {
			if _, got := h.get("k"); got != want {
				t.Errorf("got %s, want %s", got.name, want.name)
			}
		}
		if first.resets != 1 || h.count("reused") != 3 || h.count("opened") != 3 || h.count("reset") != 3 {
			t.Errorf("%d resets; %v", first.resets, h.happened)
		}
		_, other := h.get("another key")
		if other == first {
			t.Error("another key has the session")
		}
	})
}

func TestTheOneUnusedForLongestGoes(t *testing.T) {
	in(t, Options{MaxIdle: 2}, func(t *testing.T, h *house) {
		a, first := h.get("a")
		b, second := h.get("b")
		c, third := h.get("c")
		h.put(a, b, c)
		if !first.isClosed(t) || second.isClosed(t) || third.isClosed(t) || h.count("closed surplus") != 1 {
			t.Errorf("%v", h.happened)
		}
		h.want(2, 0, 0)
	})
	in(t, Options{MaxIdle: 0}, func(t *testing.T, h *house) {
		a, first := h.get("a")
		h.put(a)
		if !first.isClosed(t) {
			t.Error("one is kept")
		}
		h.want(0, 0, 0)
	})
}

func TestWhatIsNotFitIsClosed(t *testing.T) {
	in(t, Options{MaxIdle: 5}, func(t *testing.T, h *house) {
		a, first := h.get("k")
		a.Discard()
		b, second := h.get("k")
		second.broken = true
		h.put(b)
		c, third := h.get("k")
		third.hold = make(chan struct{}) // for ever
		go c.Return()()
		time.Sleep(resetTimeout - 1)
		h.want(0, 1, 0)
		time.Sleep(time.Nanosecond)
		h.want(0, 0, 0)
		if !first.isClosed(t) || !second.isClosed(t) || !third.isClosed(t) || h.count("closed unfit") != 1 || h.count("closed reset_failed") != 2 {
			t.Errorf("%v", h.happened)
		}
		l, err := h.Acquire(t.Context(), "k", nil)
		if err != nil || l.Conn() != nil {
			t.Fatal("there is a session", err)
		}
		l.Discard() // the login failed
		h.want(0, 0, 0)
	})
}

func TestTimes(t *testing.T) {
	in(t, Options{MaxIdle: 5, IdleTimeout: 10 * time.Minute, MaxLifetime: time.Hour}, func(t *testing.T, h *house) {
		a, idle := h.get("k")
		h.put(a)
		time.Sleep(10*time.Minute - 2*sweepInterval)
		if synctest.Wait(); idle.isClosed(t) {
			t.Error("closed before its time")
		}
		time.Sleep(3 * sweepInterval)
		if synctest.Wait(); !idle.isClosed(t) || h.count("closed idle") != 1 {
			t.Errorf("%v", h.happened)
		}
		b, aged := h.get("k")
		for age := time.Duration(0); age < 54*time.Minute-sweepInterval; age += time.Minute {
			if h.put(b); aged.isClosed(t) {
				t.Fatalf("closed after %v", age)
			}
			time.Sleep(time.Minute)
			b, _ = h.get("k")
		}
		if h.count("opened") != 2 {
			t.Errorf("%v", h.happened)
		}
		time.Sleep(6 * time.Minute) // in use
		if h.put(b); !aged.isClosed(t) || h.count("closed aged") != 1 {
			t.Errorf("%v", h.happened)
		}
		c, aging := h.get("k")
		for range 7 {
			h.put(c)
			time.Sleep(9 * time.Minute)
			if synctest.Wait(); aging.isClosed(t) {
				break
			}
			c, _ = h.get("k")
		}
		if !aging.isClosed(t) || h.count("closed aged") != 2 {
			t.Errorf("an idle one grows old: %v", h.happened)
		}
	})
}

func TestOneThatWasIdleForLongIsResetAgain(t *testing.T) {
	in(t, Options{MaxIdle: 5}, func(t *testing.T, h *house) {
		a, first := h.get("k")
		b, second := h.get("k")
		h.put(a, b)
		time.Sleep(resetAfter - 1)
		b, got := h.get("k")
		if got != second || second.resets != 1 {
			t.Errorf("%s, %d resets", got.name, second.resets)
		}
		h.put(b)
		time.Sleep(resetAfter)
		second.broken = true // its server is gone without a word
		if _, got := h.get("k"); got != first || first.resets != 2 || !second.isClosed(t) {
			t.Errorf("%s, %d resets", got.name, first.resets)
		}
	})
}

func TestWhatTheServerEndsIsClosed(t *testing.T) {
	in(t, Options{MaxIdle: 5}, func(t *testing.T, h *house) {
		a, first := h.get("k")
		b, second := h.get("k")
		h.put(a, b)
		time.Sleep(sweepInterval) // from then on they are watched
		close(second.speak)
		synctest.Wait()
		if !second.isClosed(t) || h.count("closed server") != 1 {
			t.Errorf("%v", h.happened)
		}
		h.want(1, 0, 0)
		if _, got := h.get("k"); got != first {
			t.Errorf("got %s", got.name)
		}
	})
	// One that was idle for less is not given on, nor kept for long.
	in(t, Options{MaxIdle: 5}, func(t *testing.T, h *house) {
		a, first := h.get("k")
		b, second := h.get("k")
		h.put(a, b)
		close(first.speak)
		close(second.speak)
		if _, got := h.get("k"); got == first || got == second {
			t.Errorf("got %s", got.name)
		}
		c, third := h.get("k")
		h.put(c)
		close(third.speak)
		time.Sleep(sweepInterval)
		if h.want(0, 1, 0); h.count("closed server") != 3 {
			t.Errorf("%v", h.happened)
		}
	})
	// And when it speaks in the moment in which the next client comes.
	for range 100 {
		in(t, Options{MaxIdle: 5}, func(t *testing.T, h *house) {
			a, first := h.get("k")
			h.put(a)
			close(first.speak)
			_, got := h.get("k")
			if h.want(0, 1, 0); got != first && !first.isClosed(t) {
				t.Error("it is neither used nor closed")
			}
		})
	}
}

func TestRetire(t *testing.T) {
	in(t, Options{MaxIdle: 5}, func(t *testing.T, h *house) {
		i, idle := h.get("k")
		h.put(i)
		r, reset := h.get("other")
		reset.hold = make(chan struct{})
		go r.Return()()
		u, used := h.get("third")
		o, err := h.Acquire(t.Context(), "opening", nil)
		if err != nil {
			t.Fatal(err)
		}
		h.want(1, 3, 0)
		h.Retire()
		opened := h.opened(o)
		synctest.Wait()
		if !idle.isClosed(t) || reset.isClosed(t) || used.isClosed(t) || opened.isClosed(t) {
			t.Error("only idle ones are closed at once")
		}
		close(reset.hold)
		h.put(u, o)
		if !reset.isClosed(t) || !used.isClosed(t) || !opened.isClosed(t) || h.count("closed retired") != 4 {
			t.Errorf("%v", h.happened)
		}
		h.want(0, 0, 0)
		n, fresh := h.get("k")
		h.put(n)
		if _, got := h.get("k"); got != fresh {
			t.Error("the new generation is not kept")
		}
	})
	// While a session that is given on is reset once more.
	in(t, Options{MaxIdle: 5}, func(t *testing.T, h *house) {
		a, old := h.get("k")
		h.put(a)
		time.Sleep(resetAfter)
		old.hold = make(chan struct{})
		got := make(chan *Lease)
		go func() {
			l, _ := h.Acquire(t.Context(), "k", nil)
			got <- l
		}()
		synctest.Wait()
		h.Retire()
		close(old.hold)
		if l := <-got; l.Conn() != nil || !old.isClosed(t) {
			t.Error("a session of the generation before is given on")
		}
	})
}

func TestAnotherKeyMakesRoom(t *testing.T) {
	in(t, Options{MaxIdle: 5, MaxOpen: 2}, func(t *testing.T, h *house) {
		a, first := h.get("a")
		b, second := h.get("b")
		h.put(a, b)
		c, _ := h.get("c")
		if !first.isClosed(t) || second.isClosed(t) || h.count("closed evicted") != 1 {
			t.Errorf("%v", h.happened)
		}
		h.want(1, 1, 0)
		h.put(c)
		h.want(2, 0, 0)
	})
}

// TestNeverMoreThanAllowed has many clients of several keys, and counts what is open.
func TestNeverMoreThanAllowed(t *testing.T) {
	in(t, Options{MaxIdle: 3, MaxOpen: 3}, func(t *testing.T, h *house) {
		var mu sync.Mutex
		var all []*fake
		var clients sync.WaitGroup
		for i := range 60 {
			clients.Go(func() {
				l, err := h.Acquire(t.Context(), string(rune('a'+i%4)), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if l.Conn() == nil {
					mu.Lock()
					open := 0
					for _, f := range all {
						if !f.isClosed(t) {
							open++
						}
					}
					if open >= 3 {
						t.Errorf("one more is opened while there are %d", open)
					}
					f := newFake("")
					all = append(all, f)
					l.Opened(f)
					mu.Unlock()
				}
				time.Sleep(time.Duration(i%7) * time.Millisecond)
				if i%5 == 0 {
					l.Discard()
				} else {
					go l.Return()()
				}
			})
		}
		clients.Wait()
		synctest.Wait()
		if s := h.Stats(); s.Idle > 3 || s.InUse > 0 || s.Waiting > 0 {
			t.Errorf("%+v", s)
		}
	})
}

// waiters has n clients wait, one after the other, and tells who is served.
func waiters(t *testing.T, h *house, keys ...string) chan string {
	served := make(chan string, len(keys))
	for i, key := range keys {
		go func() {
			l, err := h.Acquire(t.Context(), key, nil)
			if err != nil {
				served <- err.Error()
				return
			}
			f := h.opened(l)
			served <- fmt.Sprintf("%d%s on %s", i, key, f.name)
			time.Sleep(time.Second)
			h.put(l)
		}()
		synctest.Wait()
	}
	return served
}

func TestInTurn(t *testing.T) {
	in(t, Options{MaxIdle: 5, MaxOpen: 1}, func(t *testing.T, h *house) {
		a, _ := h.get("a")
		served := waiters(t, h, "a", "b", "a", "a", "b")
		h.want(0, 1, 5)
		h.put(a)
		var got []string
		for range 5 {
			got = append(got, <-served)
		}
		want := []string{"0a on a1", "1b on b2", "2a on a3", "3a on a3", "4b on b4"}
		if !slices.Equal(got, want) {
			t.Errorf("served %v, want %v", got, want)
		}
		time.Sleep(time.Minute)
		h.want(1, 0, 0)
		if h.count("waited") != 5 {
			t.Errorf("%v", h.happened)
		}
	})
}

func TestWaiting(t *testing.T) {
	in(t, Options{MaxIdle: 5, MaxOpen: 1, WaitTimeout: time.Minute}, func(t *testing.T, h *house) {
		a, _ := h.get("k")
		began := time.Now()
		if _, err := h.Acquire(t.Context(), "k", nil); err != ErrTimeout || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, leave := context.WithCancelCause(t.Context())
		why := errors.New("the client left")
		time.AfterFunc(time.Second, func() { leave(why) })
		if _, err := h.Acquire(ctx, "k", nil); err != why {
			t.Errorf("%v", err)
		}
		h.want(0, 1, 0)
		h.put(a)
		h.want(1, 0, 0)
	})
	// A place that is free in the moment in which the wait is over is not lost.
	for range 200 {
		in(t, Options{MaxIdle: 5, MaxOpen: 1, WaitTimeout: time.Minute}, func(t *testing.T, h *house) {
			a, _ := h.get("k")
			ctx, leave := context.WithTimeout(t.Context(), time.Minute)
			defer leave()
			time.AfterFunc(time.Minute, func() { a.Return()() })
			b, err := h.Acquire(ctx, "k", nil)
			if err == nil {
				h.opened(b)
				h.put(b)
			}
			h.want(1, 0, 0)
		})
	}
}

// TestAWaiterKeepsItsTurn has the session that it was given be broken.
func TestAWaiterKeepsItsTurn(t *testing.T) {
	in(t, Options{MaxIdle: 5, MaxOpen: 1, WaitTimeout: time.Minute}, func(t *testing.T, h *house) {
		a, first := h.get("k")
		served := waiters(t, h, "k", "k")
		close(first.speak) // in the moment in which it is given on
		h.put(a)
		for i := range 2 {
			if got := <-served; got != fmt.Sprintf("%dk on k2", i) {
				t.Errorf("served %s", got)
			}
		}
		time.Sleep(time.Minute)
		h.want(1, 0, 0)
	})
}

func TestWarm(t *testing.T) {
	in(t, Options{MaxIdle: 3, Warm: 2, MaxOpen: 4}, func(t *testing.T, h *house) {
		h.want(0, 0, 0) // nobody has shown yet how to log in
		var mu sync.Mutex
		fails, opened := true, []*fake{}
		open := func(context.Context) (Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			if fails {
				return nil, errors.New("no")
			}
			opened = append(opened, newFake("warm"))
			return opened[len(opened)-1], nil
		}
		a, err := h.Acquire(t.Context(), "k", open)
		if err != nil {
			t.Fatal(err)
		}
		h.opened(a)
		h.want(0, 1, 0)
		mu.Lock()
		fails = false
		mu.Unlock()
		time.Sleep(warmAgain)
		h.want(2, 1, 0)
		b, err := h.Acquire(t.Context(), "k", open)
		if err != nil || b.Conn() == nil {
			t.Fatalf("none is there: %v", err)
		}
		h.want(2, 2, 0) // and MaxOpen is reached
		c, err := h.Acquire(t.Context(), "k", open)
		if err != nil || c.Conn() == nil {
			t.Fatalf("none is there: %v", err)
		}
		h.want(1, 3, 0)
		h.put(a, b, c)
		h.want(3, 0, 0)
		h.Retire()
		h.want(2, 0, 0) // anew
		time.Sleep(sweepInterval)
		close(opened[len(opened)-1].speak)
		h.want(2, 0, 0)
		if h.count("closed retired") != 3 || h.count("closed server") != 1 {
			t.Errorf("%v", h.happened)
		}
	})
}

// TestClose closes a pool in which everything is under way.
func TestClose(t *testing.T) {
	in(t, Options{MaxIdle: 5, MaxOpen: 4, Warm: 1}, func(t *testing.T, h *house) {
		i, idle := h.get("idle")
		h.put(i)
		r, reset := h.get("reset")
		reset.hold = make(chan struct{})
		go r.Return()()
		u, used := h.get("used")
		o, err := h.Acquire(t.Context(), "opening", func(ctx context.Context) (Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		if err != nil {
			t.Fatal(err)
		}
		h.want(1, 3, 0)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if l, err := h.Acquire(t.Context(), "idle", nil); err != nil || l.Conn() != idle {
				t.Errorf("%v", err)
			} else {
				go l.Return()()
			}
		})
		waiting.Wait()
		h.Close()
		synctest.Wait()
		if !idle.isClosed(t) || !reset.isClosed(t) || used.isClosed(t) {
			t.Errorf("%v", h.happened)
		}
		late := h.opened(o)
		h.put(u, o)
		if !used.isClosed(t) || !late.isClosed(t) || h.count("closed shutdown") < 2 {
			t.Errorf("%v", h.happened)
		}
		h.Retire()
		n, fresh := h.get("k")
		if h.put(n); !fresh.isClosed(t) {
			t.Error("a closed pool keeps one")
		}
		h.want(0, 0, 0)
	})
}

// TestOneThatComesBackSoonIsAwaited has one client more than sessions are kept.
func TestOneThatComesBackSoonIsAwaited(t *testing.T) {
	in(t, Options{MaxIdle: 2}, func(t *testing.T, h *house) {
		a, first := h.get("k")
		b, second := h.get("k")
		first.hold = make(chan struct{})
		go a.Return()()
		var last *fake
		next := make(chan struct{})
		go func() {
			defer close(next)
			if h.AtOnce(t.Context(), "k", nil) != nil {
				t.Error("there is one at once")
			}
			_, last = h.get("k")
		}()
		time.Sleep(soonTimeout / 2)
		close(first.hold)
		<-next
		if h.want(0, 2, 0); last != first || h.count("opened") != 2 || h.count("waited") != 0 {
			t.Errorf("got %v; %v", last, h.happened)
		}

		// One that does not come back is not awaited for long.
		second.hold = make(chan struct{})
		go b.Return()()
		began := time.Now()
		_, third := h.get("k")
		if waited := time.Since(began); third == first || third == second || waited != soonTimeout {
			t.Errorf("got %s after %s", third.name, waited)
		}
		close(second.hold)
		h.want(1, 2, 0)

		// Nor is one of another key, or when none came back lately.
		began = time.Now()
		_, _ = h.get("other")
		time.Sleep(soonTimeout)
		_, _ = h.get("k")
		_, _ = h.get("k")
		if waited := time.Since(began); waited != soonTimeout {
			t.Errorf("waited for %s", waited)
		}
	})
}

// TestWhoWaitsDoesSoAsLongAsALoginTakes has logins take long, and then very long.
func TestWhoWaitsDoesSoAsLongAsALoginTakes(t *testing.T) {
	for login, want := range map[time.Duration]time.Duration{0: soonTimeout, 200 * time.Millisecond: 200 * time.Millisecond, time.Minute: soonTimeoutMost} {
		in(t, Options{MaxIdle: 1}, func(t *testing.T, h *house) {
			l, err := h.Acquire(t.Context(), "k", nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 30 {
				time.Sleep(login)
				h.opened(l)
				l.Discard()
				l = h.AtOnce(t.Context(), "k", nil)
			}
			time.Sleep(login)
			conn := h.opened(l)
			conn.hold = make(chan struct{})
			defer close(conn.hold)
			go l.Return()()
			synctest.Wait()
			began := time.Now()
			_, _ = h.get("k")
			if waited := time.Since(began).Round(time.Millisecond * 10); waited != want {
				t.Errorf("logins of %s: waited for %s, want %s", login, waited, want)
			}
		})
	}
}

// TestReserveAwaitsOneThatComesBackSoon has a client of whom nothing is known come meanwhile.
func TestReserveAwaitsOneThatComesBackSoon(t *testing.T) {
	in(t, Options{MaxIdle: 1}, func(t *testing.T, h *house) {
		a, first := h.get("k")
		first.hold = make(chan struct{})
		go a.Return()()
		synctest.Wait()
		time.AfterFunc(soonTimeout/2, func() { close(first.hold) })
		began := time.Now()
		r := h.Reserve(t.Context())
		if r.Conn() != first || time.Since(began) != soonTimeout/2 {
			t.Fatalf("got %v after %s", r.Conn(), time.Since(began))
		}
		if !r.Claim(t.Context(), "k", nil) {
			t.Error("it has gone")
		}

		// One that does not come back is not awaited for long, nor by a client that leaves.
		first.hold = make(chan struct{})
		defer close(first.hold)
		go r.Return()()
		synctest.Wait()
		for wait, want := range map[time.Duration]time.Duration{time.Minute: soonTimeout, 0: 0} {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			began = time.Now()
			r = h.Reserve(ctx)
			cancel()
			if waited := time.Since(began); r.Conn() != nil || waited > want {
				t.Errorf("got %v after %s", r.Conn(), waited)
			}
			r.Discard()
		}
		h.want(0, 1, 0)
	})
}

// TestWhileFewAreOpenNobodyWaits: one session more is kept.
func TestWhileFewAreOpenNobodyWaits(t *testing.T) {
	in(t, Options{MaxIdle: 3}, func(t *testing.T, h *house) {
		a, first := h.get("k")
		first.hold = make(chan struct{})
		defer close(first.hold)
		go a.Return()()
		if l := h.AtOnce(t.Context(), "k", nil); l == nil || l.Conn() != nil {
			t.Error("it would wait")
		}
		h.want(0, 2, 0)
	})
}
