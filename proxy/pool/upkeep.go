package pool

import (
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
				again = time.After(warmAgain)
				break
			}
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
	return &Lease{pool: p, key: p.lastKey, generation: p.generation}, p.lastOpen
}
