package pool

import (
	"context"
	"time"

	"github.com/credproxy/credproxy/tracing"
)

const (
	// resetTimeout bounds a Reset.
	resetTimeout = 5 * time.Second
	// resetAfter is how long a session may have been idle that is given on as it is; one
	// that was idle longer is reset once more, which shows that it is still there.
	resetAfter = 30 * time.Second
)

// unusable ends the watch over an idle session. It returns why the session cannot be given on,
// "" if it can.
func (p *Pool) unusable(ctx context.Context, s *session) Reason {
	switch {
	case !p.quiet(s):
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
	_, span := tracing.Start(ctx, "reset")
	err := s.conn.Reset(ctx)
	if span.End(err); err != nil {
		return false
	}
	s.since = time.Now()
	p.o.Observe(Event{Kind: Reset, Took: s.since.Sub(began)})
	return true
}
