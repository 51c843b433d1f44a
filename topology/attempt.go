package topology

import (
	"context"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
)

// readerShare is the part of a login's time that one attempt at a reader may take, since
// there may be others: a third.
const readerShare = 3

// lastShare is the part of a login's time for an attempt once all of it is over: a third.
const lastShare = 3

// AttemptTime returns how long an attempt may take of a login that began at the time given and
// has timeout for all of them: what is left of it. [Servers.Login] itself breaks off neither an attempt
// nor the wait for a credential that is being rotated; after one that took longer an attempt has a third of timeout.
func (s *Servers) AttemptTime(began time.Time, timeout time.Duration) time.Duration {
	if s == nil {
		return timeout
	}
	if left := timeout - time.Since(began); left > 0 {
		return left
	}
	return timeout / lastShare
}

// Attempt returns the context of a login's attempt along route. At a reader it ends when a
// third of the time is over that ctx has left.
func (s *Servers) Attempt(ctx context.Context, route Route) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if s == nil || !ok || s.Wanted(route) != Reader {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/readerShare)
}

// Elsewhere marks the error of a login along route as [Missed] does where another server may serve
// it: the one at the end is leaving, as its protocol knows, cannot be reached or broke off, or is a
// reader that did not answer in the time that [Servers.Attempt] gave. There is but one writer, and
// it may be slow.
func (s *Servers) Elsewhere(route Route, err error, leaving bool) error {
	if s == nil {
		return err
	}
	switch kind := fault.As(err).Kind; {
	case leaving, kind == fault.Unreachable, kind == fault.UpstreamBroken, kind == fault.Timeout && s.Wanted(route) == Reader:
		return Missed(route, err)
	}
	return err
}
