package pool

import (
	"context"
	"slices"
	"time"
)

// sweep closes what was idle for too long or is too old.
func (p *Pool) sweep() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		for s, reason := range p.outdated(time.Now()) {
			p.drop(s, reason)
		}
		p.watchIdle()
	}
}

// outdated takes out of the idle sessions those that are to be closed at now.
func (p *Pool) outdated(now time.Time) map[*session]Reason {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[*session]Reason{}
	for _, of := range []*[]*session{&p.idle, &p.aside} {
		*of = slices.DeleteFunc(*of, func(s *session) bool {
			switch {
			case !now.Before(s.dies):
				out[s] = Aged
			case now.Sub(s.since) >= p.o.IdleTimeout:
				out[s] = Idle
			default:
				return false
			}
			return true
		})
	}
	return out
}

// kick has sessions opened ahead, if some are missing.
func (p *Pool) kick() {
	select {
	case p.kicked <- struct{}{}:
	default:
	}
}

// warm opens sessions ahead of any client, as the client seen last would.
func (p *Pool) warm() {
	var again <-chan time.Time
	wait := warmAgain
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.kicked:
			if again != nil {
				continue
			}
		case <-again:
		}
		again = nil
		for {
			l, open := p.missing()
			if l == nil {
				break
			}
			c, err := open(p.ctx)
			if err != nil {
				p.freed()
				again, wait = time.After(wait), min(2*wait, warmAgainMost)
				break
			}
			wait = warmAgain
			l.Opened(c)
			p.keep(l.session)
		}
	}
}

// missing returns a lease for one session more to open ahead, nil if there are enough.
func (p *Pool) missing() (*Lease, Open) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.lastOpen == nil || p.waiters.Len() > 0 || p.o.MaxOpen > 0 && p.open >= p.o.MaxOpen {
		return nil, nil
	}
	n := 0
	for _, s := range p.idle {
		if s.key == p.lastKey {
			n++
		}
	}
	if n >= p.o.Warm || len(p.idle) >= p.o.MaxIdle {
		return nil, nil
	}
	p.open++
	return p.toLogIn(p.lastKey), p.lastOpen
}

// watchIdle begins to watch the sessions that nobody uses. A session that is used again and
// again between two sweeps is spared that, since it costs more than all else here: it is
// looked at when it is given on.
func (p *Pool) watchIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	for _, of := range [][]*session{p.idle, p.aside} {
		for _, s := range of {
			if !s.watching {
				p.watch(s)
			}
		}
	}
}

// watch begins the watch over an idle session. p.mu is held, and p is not closed.
func (p *Pool) watch(s *session) {
	s.watching = true
	ctx, unwatch := context.WithCancel(p.ctx)
	s.unwatch, s.watched = unwatch, make(chan bool, 1)
	p.all.Add(1)
	go func() {
		defer p.all.Done()
		quiet := s.conn.Watch(ctx)
		s.watched <- quiet
		if !quiet && p.takeOut(s) {
			p.drop(s, ServerEnded)
		}
	}()
}

// quiet ends the watch over an idle session, if there is one, and reports whether its server
// has said nothing.
func (p *Pool) quiet(s *session) bool {
	if !s.watching {
		return s.conn.Watch(p.ended)
	}
	s.unwatch()
	s.watching = false
	return <-s.watched
}

// takeOut takes a session out of those that nobody uses, and reports whether it was there.
func (p *Pool) takeOut(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, of := range []*[]*session{&p.idle, &p.aside} {
		if i := slices.Index(*of, s); i >= 0 {
			*of = slices.Delete(*of, i, i+1)
			return true
		}
	}
	return false
}

// drop closes a session that nobody has any more, and gives its place on.
func (p *Pool) drop(s *session, reason Reason) {
	p.shut(s, reason)
	p.freed()
	p.kick()
}

// shut closes a session that nobody has any more.
func (p *Pool) shut(s *session, reason Reason) {
	if s.unwatch != nil {
		s.unwatch()
	}
	_ = s.conn.Close()
	p.o.Observe(Event{Kind: Closed, Reason: reason})
}
