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
	session    *session // nil: the holder is to log in
	aside      bool     // SetAside was called, and nothing since
	settled    bool     // Claim or GiveBack was
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

// Opened says that the holder has logged in.
func (l *Lease) Opened(c Conn) { l.session = l.pool.opened(c, l.key, l.generation) }

func (p *Pool) opened(c Conn, key string, generation uint64) *session {
	now := time.Now()
	life := time.Duration(float64(p.o.MaxLifetime) * (1 - lifetimeJitter*rand.Float64()))
	p.o.Observe(Event{Kind: Opened})
	return &session{conn: c, key: key, generation: generation, born: now, dies: now.Add(life), since: now}
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
