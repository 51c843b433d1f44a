package pool

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// resetTimeout bounds a Reset.
	resetTimeout = 5 * time.Second
	// resetAfter is how long a session may have been idle that is given on as it is; one
	// that was idle longer is reset once more, which shows that it is still there.
	resetAfter = 30 * time.Second
	// lifetimeJitter is the part of MaxLifetime by which a session's is shorter, at most, so
	// that those of one moment do not end in one moment.
	lifetimeJitter = 0.1
	sweepInterval  = time.Second
	// warmAgain is how long opening ahead waits after it has failed.
	warmAgain = 5 * time.Second
)

// ErrTimeout is the error of who has waited for WaitTimeout.
var ErrTimeout = errors.New("no server session was free in time")

// Open logs in anew.
type Open func(context.Context) (Conn, error)

// Pool keeps the sessions of one database.
type Pool struct {
	o      Options
	ctx    context.Context // until Close
	cancel context.CancelFunc
	kicked chan struct{} // there may be something to open ahead; capacity 1
	all    sync.WaitGroup

	mu         sync.Mutex
	idle       []*session // the one that was used last comes last
	aside      []*session // set aside, but to make room
	open       int        // sessions that are idle, in use, being reset or being opened
	generation uint64
	waiters    list.List // of *waiter, the first to come first
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
	since      time.Time // that it is idle
	unwatch    context.CancelFunc
	watched    chan bool // whether it was quiet to the end of the watch; capacity 1
	watching   bool      // watched is yet to be received from
}

// waiter waits for one of MaxOpen.
type waiter struct {
	key   string
	lease chan *Lease // capacity 1
}

// New returns an empty pool.
func New(o Options) *Pool {
	p := &Pool{o: o, kicked: make(chan struct{}, 1)}
	if p.o.Observe == nil {
		p.o.Observe = func(Event) {}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
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

// Stats are the numbers of sessions, and of those who wait for one.
type Stats struct{ Idle, InUse, Waiting int }

// Stats returns the numbers of this moment.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	idle := len(p.idle) + len(p.aside)
	return Stats{idle, p.open - idle, p.waiters.Len()}
}

// Acquire returns a lease: of an idle session of that key, or else one to log in with, when
// there are fewer than MaxOpen. open is how sessions of the key can be opened ahead. The
// error is [ErrTimeout], or the cause of ctx.
func (p *Pool) Acquire(ctx context.Context, key string, open Open) (*Lease, error) {
	for {
		l, w := p.lease(key, open)
		if w != nil {
			var err error
			if l, err = p.wait(ctx, w); err != nil {
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
	return &Lease{pool: p, key: key, generation: p.generation}
}

// lease returns what there is, or a waiter that is in the queue.
func (p *Pool) lease(key string, open Open) (*Lease, *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen(key, open)
	for i := len(p.idle) - 1; i >= 0; i-- {
		if s := p.idle[i]; s.key == key {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return &Lease{pool: p, key: key, generation: s.generation, session: s}, nil
		}
	}
	if p.o.MaxOpen == 0 || p.open < p.o.MaxOpen {
		p.open++
		return &Lease{pool: p, key: key, generation: p.generation}, nil
	}
	w := &waiter{key, make(chan *Lease, 1)}
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

// seen remembers how to open sessions ahead; not, if open is nil. p.mu is held.
func (p *Pool) seen(key string, open Open) {
	if open != nil {
		p.lastKey, p.lastOpen = key, open
	}
}

// wait waits for w's turn.
func (p *Pool) wait(ctx context.Context, w *waiter) (*Lease, error) {
	began := time.Now()
	defer func() { p.o.Observe(Event{Kind: Waited, Took: time.Since(began)}) }()
	timer := time.NewTimer(p.o.WaitTimeout)
	defer timer.Stop()
	var err error
	select {
	case l := <-w.lease:
		return l, nil
	case <-timer.C:
		err = ErrTimeout
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	for e := p.waiters.Front(); e != nil; e = e.Next() {
		if e.Value == w {
			p.waiters.Remove(e)
			p.mu.Unlock()
			return nil, err
		}
	}
	p.mu.Unlock()
	return <-w.lease, nil // it was its turn in the same moment
}

// unusable ends the watch over an idle session. It returns why the session cannot be given on,
// "" if it can.
func (p *Pool) unusable(ctx context.Context, s *session) Reason {
	s.unwatch()
	s.watching = false
	switch quiet := <-s.watched; {
	case !quiet:
		return ServerEnded
	case time.Since(s.since) < resetAfter:
		return ""
	case !p.reset(ctx, s):
		return ResetFailed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unkept(s) // it was reset for a while
}

// reset makes the session as a fresh one, and reports whether it could.
func (p *Pool) reset(ctx context.Context, s *session) bool {
	ctx, cancel := context.WithTimeout(ctx, resetTimeout)
	defer cancel()
	began := time.Now()
	if s.conn.Reset(ctx) != nil {
		return false
	}
	p.o.Observe(Event{Kind: Reset, Took: time.Since(began)})
	return true
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
			p.watch(s)
			w.lease <- &Lease{pool: p, key: s.key, generation: s.generation, session: s}
			p.mu.Unlock()
			return
		}
		reason = Evicted // its place is the waiter's
	}
	if reason == "" && p.o.MaxIdle == 0 {
		reason = Surplus
	}
	if reason == "" {
		p.watch(s)
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
	w.lease <- &Lease{pool: p, key: w.key, generation: p.generation}
}
