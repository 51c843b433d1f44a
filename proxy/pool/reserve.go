package pool

import (
	"context"
	"slices"

	"github.com/credproxy/credproxy/tracing"
)

// Reserve returns a lease for a client of whom it is not known yet what it wants: of the idle
// session that was used last, of whichever key, or of one that comes back soon, or else one to
// log in with; nil if there are MaxOpen. Claim, GiveBack or Discard is next.
func (p *Pool) Reserve(ctx context.Context) *Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return &Lease{pool: p, key: s.key, generation: s.generation, session: s}
	}
	if p.isSoon(p.returnedOf) {
		w := p.awaitReturn(p.returnedOf)
		p.mu.Unlock()
		l, err := p.wait(ctx, w)
		p.mu.Lock()
		if err == nil {
			return l
		}
	}
	return p.place("")
}

// Is reports whether the lease is of a session of that key.
func (l *Lease) Is(key string) bool { return l.session != nil && l.session.key == key }

// Claim makes the lease, which is one to log in with or of a session of that key, one for the
// key, as AtOnce would return it. It reports false, and the lease has ended, if the session
// has gone meanwhile. ctx is the trace's alone.
func (l *Lease) Claim(ctx context.Context, key string, open Open) bool {
	p, s := l.pool, l.session
	p.mu.Lock()
	p.seen(key, open)
	there := l.takeBack()
	var reason Reason
	if there && s != nil {
		reason = p.unkept(s)
	}
	p.mu.Unlock()
	if !there {
		return false
	}
	if l.key = key; s == nil {
		p.kick()
		return true
	}
	if reason == "" {
		reason = p.unusable(tracing.WithSpanOf(p.ctx, ctx), s)
	}
	if reason != "" {
		p.drop(s, reason)
		return false
	}
	p.o.Observe(Event{Kind: Reused})
	p.kick()
	return true
}

// SetAside keeps an idle session from all others until GiveBack or Claim, as Reserve does, but
// has it make room for who needs a server session: it may be gone then. After these it does
// nothing.
func (l *Lease) SetAside() {
	p, s := l.pool, l.session
	p.mu.Lock()
	if l.aside || l.settled {
		p.mu.Unlock()
		return
	}
	reason := p.unkept(s)
	if reason == "" && p.waiters.Len() > 0 {
		reason = Evicted
	}
	if l.aside = true; reason == "" {
		p.aside = append(p.aside, s)
	}
	p.mu.Unlock()
	if reason != "" {
		p.drop(s, reason)
	}
}

// GiveBack ends the lease: nobody has used the session, if there is one.
func (l *Lease) GiveBack() {
	p := l.pool
	if l.session == nil {
		p.freed()
		return
	}
	p.mu.Lock()
	there := l.takeBack()
	p.mu.Unlock()
	if there {
		p.keep(l.session)
	}
}

// takeBack takes the session out of those set aside, if it is one, and reports whether it is
// still there. l.pool.mu is held.
func (l *Lease) takeBack() bool {
	l.settled = true
	if !l.aside {
		return true
	}
	l.aside = false
	i := slices.Index(l.pool.aside, l.session)
	if i >= 0 {
		l.pool.aside = slices.Delete(l.pool.aside, i, i+1)
	}
	return i >= 0
}
