package pool

import (
	"math/rand/v2"
	"time"
)

// Lease is the right to one server session.
type Lease struct {
	pool       *Pool
	key        string
	generation uint64
	began      time.Time // when the holder was told to log in
	session    *session  // nil: the holder is to log in
	aside      bool      // SetAside was called, and nothing since
	settled    bool      // Claim or GiveBack was
}

// Conn returns the session, nil if the holder is to log in and to call Opened.
func (l *Lease) Conn() Conn {
	if l.session == nil {
		return nil
	}
	return l.session.conn
}

// Age returns how long ago the session was opened.
func (l *Lease) Age() time.Duration { return time.Since(l.session.born) }

// toLogIn returns a lease to log in with, in a place that is the holder's. p.mu is held.
func (p *Pool) toLogIn(key string) *Lease {
	return &Lease{pool: p, key: key, generation: p.generation, began: time.Now()}
}

// Opened says that the holder has logged in.
func (l *Lease) Opened(c Conn) {
	p, now := l.pool, time.Now()
	life := time.Duration(float64(p.o.MaxLifetime) * (1 - lifetimeJitter*rand.Float64()))
	l.session = &session{conn: c, key: l.key, generation: l.generation, born: now, dies: now.Add(life), since: now}
	p.mu.Lock()
	p.loggedIn(now.Sub(l.began))
	p.mu.Unlock()
	p.o.Observe(Event{Kind: Opened})
}

// Discard ends the lease: the session is closed, if there is one.
func (l *Lease) Discard() {
	if l.session == nil {
		l.pool.freed()
		return
	}
	l.pool.drop(l.session, Unfit)
}

// Return ends the lease: the session is at a point where it can be reset. The caller calls
// reset, on a goroutine that has nothing more urgent to do, since that waits for the server:
// it keeps the session if it could be reset. Close waits for it.
func (l *Lease) Return() (reset func()) {
	p, s := l.pool, l.session
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.drop(s, Shutdown)
		return func() {}
	}
	p.all.Add(1)
	p.returned, p.returnedOf = time.Now(), s.key
	p.mu.Unlock()
	return func() {
		defer p.all.Done()
		switch {
		case !p.current(s):
		case p.reset(p.ctx, s):
			p.keep(s)
		default:
			p.drop(s, ResetFailed)
		}
	}
}
