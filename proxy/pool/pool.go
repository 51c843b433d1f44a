package pool

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/credproxy/credproxy/tracing"
)

const (
	// lifetimeJitter is the part of MaxLifetime by which a session's is shorter, at most, so
	// that those of one moment do not end in one moment.
	lifetimeJitter = 0.1
	sweepInterval  = time.Second
	// warmAgain is how long opening ahead waits after it has failed, twice as long after each
	// further failure, up to warmAgainMost: a password that is refused may lock its user.
	warmAgain     = 5 * time.Second
	warmAgainMost = 5 * time.Minute
)

// ErrTimeout is the error of who has waited for WaitTimeout.
var ErrTimeout = errors.New("no server session was free in time")

// Open logs in anew.
type Open func(context.Context) (Conn, error)

// Pool keeps the sessions of one database.
type Pool struct {
	o      Options
	ctx    context.Context // until Close
	ended  context.Context // has ended
	cancel context.CancelFunc
	kicked chan struct{} // there may be something to open ahead; capacity 1
	all    sync.WaitGroup

	mu         sync.Mutex
	idle       []*session // the one that was used last comes last
	aside      []*session // set aside, but to make room
	open       int        // sessions that are idle, in use, being reset or being opened
	generation uint64
	waiters    list.List // of *waiter, the first to come first
	soon       list.List // of *waiter, for a session that comes back
	returned   time.Time // when a session came back last, and of which key
	returnedOf string
	login      time.Duration // how long one takes, lately
	closed     bool
	lastKey    string // of the client seen last, and how to log in as it
	lastOpen   Open
}

// session is one that the pool has, or has given out.
type session struct {
	conn       Conn
	key        string
	generation uint64
	born, dies time.Time
	since      time.Time // that it is as a fresh one
	unwatch    context.CancelFunc
	watched    chan bool // whether it was quiet to the end of the watch; capacity 1
	watching   bool      // watched is yet to be received from
}

// waiter waits for one of MaxOpen, or for a session that comes back.
type waiter struct {
	key   string
	lease chan *Lease // capacity 1
	soon  bool        // the latter

	patience time.Duration // of the latter
}

// New returns an empty pool.
func New(o Options) *Pool {
	p := &Pool{o: o, kicked: make(chan struct{}, 1)}
	if p.o.Observe == nil {
		p.o.Observe = func(Event) {}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	ended, end := context.WithCancel(context.Background())
	end()
	p.ended = ended
	p.all.Go(p.sweep)
	if o.Warm > 0 {
		p.all.Go(p.warm)
	}
	return p
}

// Close closes all idle sessions, and keeps none from then on. It returns when nothing runs
// for the pool any more; sessions that are in use go on.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	idle := p.takeAll()
	p.mu.Unlock()
	p.cancel()
	for _, s := range idle {
		p.drop(s, Shutdown)
	}
	p.all.Wait()
}

// Retire begins a new generation: sessions of earlier ones are closed, those that are in use
// when their client has left. It does not wait for that.
func (p *Pool) Retire() {
	p.mu.Lock()
	p.generation++
	idle := p.takeAll()
	if len(idle) > 0 { // so p is not closed
		p.all.Go(func() {
			for _, s := range idle {
				p.drop(s, Retired)
			}
		})
	}
	p.mu.Unlock()
}

// takeAll takes out all sessions that nobody uses. p.mu is held.
func (p *Pool) takeAll() []*session {
	all := append(p.idle, p.aside...)
	p.idle, p.aside = nil, nil
	return all
}

// Ended reports whether the pool was closed, and no session of it is left.
func (p *Pool) Ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed && p.open == 0
}

// Stats are the numbers of sessions, and of those who wait for one.
type Stats struct{ Idle, InUse, Waiting int }

// Stats returns the numbers of this moment.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	idle := len(p.idle) + len(p.aside)
	return Stats{idle, p.open - idle, p.waiters.Len()}
}

// AtOnce returns the lease that Acquire would return without waiting, nil if it would wait. ctx is
// the trace's alone.
func (p *Pool) AtOnce(ctx context.Context, key string, open Open) *Lease {
	for {
		p.mu.Lock()
		p.seen(key, open)
		l := p.free(key)
		if l == nil && !p.isSoon(key) {
			l = p.place(key)
		}
		p.mu.Unlock()
		if l == nil || l.session == nil {
			p.kick()
			return l
		}
		reason := p.unusable(tracing.WithSpanOf(p.ctx, ctx), l.session)
		if reason == "" {
			p.o.Observe(Event{Kind: Reused})
			p.kick()
			return l
		}
		p.drop(l.session, reason)
	}
}

// Acquire returns a lease: of an idle session of that key, or of one that comes back soon, or
// else one to log in with, when there are fewer than MaxOpen. open is how sessions of the key
// can be opened ahead. The error is [ErrTimeout], or the cause of ctx.
func (p *Pool) Acquire(ctx context.Context, key string, open Open) (*Lease, error) {
	for patient := true; ; {
		l, w := p.lease(key, open, patient)
		if w != nil {
			var err error
			if l, err = p.wait(ctx, w); errors.Is(err, errNotSoon) {
				patient = false
				continue
			} else if err != nil {
				return nil, err
			}
		}
		if l.session != nil {
			if reason := p.unusable(ctx, l.session); reason == "" {
				p.o.Observe(Event{Kind: Reused})
			} else if p.shut(l.session, reason); w != nil { // it has waited for this place
				l = p.anew(key)
			} else {
				p.freed()
				p.kick()
				continue
			}
		}
		p.kick()
		return l, nil
	}
}

// anew returns a lease to log in with, in a place that the caller has.
func (p *Pool) anew(key string) *Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.toLogIn(key)
}

// lease returns what there is, or a waiter that is in a queue; in that for sessions that come
// back only if patient.
func (p *Pool) lease(key string, open Open, patient bool) (*Lease, *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen(key, open)
	if l := p.free(key); l != nil {
		return l, nil
	}
	if p.o.MaxOpen == 0 || p.open < p.o.MaxOpen {
		if patient && p.isSoon(key) {
			return nil, p.awaitReturn(key)
		}
		return p.place(key), nil
	}
	w := &waiter{key: key, lease: make(chan *Lease, 1)}
	p.waiters.PushBack(w)
	if len(p.idle)+len(p.aside) > 0 { // of other keys: the one that was not used for longest makes room
		from := &p.idle
		if len(p.aside) > 0 {
			from = &p.aside
		}
		s := (*from)[0]
		*from = (*from)[1:]
		p.all.Go(func() { p.drop(s, Evicted) })
	}
	return nil, w
}

// free returns a lease of the idle session of that key that was used last, nil if there is
// none. p.mu is held.
func (p *Pool) free(key string) *Lease {
	for i := len(p.idle) - 1; i >= 0; i-- {
		if s := p.idle[i]; s.key == key {
			p.idle = slices.Delete(p.idle, i, i+1)
			return &Lease{pool: p, key: key, generation: s.generation, session: s}
		}
	}
	return nil
}

// place returns a lease to log in with, nil if there are MaxOpen. p.mu is held.
func (p *Pool) place(key string) *Lease {
	if p.o.MaxOpen > 0 && p.open >= p.o.MaxOpen {
		return nil
	}
	p.open++
	return p.toLogIn(key)
}

// seen remembers how to open sessions ahead; not, if open is nil. p.mu is held.
func (p *Pool) seen(key string, open Open) {
	if open != nil {
		p.lastKey, p.lastOpen = key, open
	}
}

// wait waits for w's turn.
func (p *Pool) wait(ctx context.Context, w *waiter) (*Lease, error) {
	began := time.Now()
	_, span := tracing.Start(ctx, "wait for session")
	defer span.End(nil) // who waited in vain logs in, or fails and says so
	timeout, err := w.patience, errNotSoon
	if !w.soon {
		timeout, err = p.o.WaitTimeout, ErrTimeout
		defer func() { p.o.Observe(Event{Kind: Waited, Took: time.Since(began)}) }()
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case l := <-w.lease:
		return l, nil
	case <-timer.C:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	left := leave(&p.soon, w) || leave(&p.waiters, w)
	p.mu.Unlock()
	if left {
		return nil, err
	}
	return <-w.lease, nil // it was its turn in the same moment
}

// current reports whether a session may be kept. If not, it is closed.
func (p *Pool) current(s *session) bool {
	p.mu.Lock()
	reason := p.unkept(s)
	p.mu.Unlock()
	if reason != "" {
		p.drop(s, reason)
	}
	return reason == ""
}

// unkept returns why a session may not be kept, "" if it may. p.mu is held.
func (p *Pool) unkept(s *session) Reason {
	switch {
	case p.closed:
		return Shutdown
	case s.watching && len(s.watched) > 0:
		return ServerEnded
	case s.generation != p.generation:
		return Retired
	case !time.Now().Before(s.dies):
		return Aged
	}
	return ""
}

// keep gives a session that was reset to who waits, or keeps it.
func (p *Pool) keep(s *session) {
	p.mu.Lock()
	reason := p.unkept(s)
	if first := p.waiters.Front(); reason == "" && first != nil {
		w := first.Value.(*waiter)
		if w.key == s.key {
			p.waiters.Remove(first)
			w.lease <- &Lease{pool: p, key: s.key, generation: s.generation, session: s}
			p.mu.Unlock()
			return
		}
		reason = Evicted // its place is the waiter's
	}
	if reason == "" {
		if w := p.firstSoon(s.key); w != nil {
			w.lease <- &Lease{pool: p, key: s.key, generation: s.generation, session: s}
			p.mu.Unlock()
			return
		}
	}
	if reason == "" && p.o.MaxIdle == 0 {
		reason = Surplus
	}
	if reason == "" {
		p.idle = append(p.idle, s)
		if s = nil; len(p.idle) > p.o.MaxIdle { // the one that nobody wanted for longest goes
			s, reason = p.idle[0], Surplus
			p.idle = p.idle[1:]
		}
	}
	p.mu.Unlock()
	if s != nil {
		p.drop(s, reason)
	}
}

// freed gives a place on to who waits for one.
func (p *Pool) freed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	first := p.waiters.Front()
	if first == nil || p.o.MaxOpen > 0 && p.open >= p.o.MaxOpen {
		return
	}
	w := p.waiters.Remove(first).(*waiter)
	p.open++
	w.lease <- p.toLogIn(w.key)
}
