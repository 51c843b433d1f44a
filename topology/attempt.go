package topology

import (
	"context"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
)

// readerShare is the part of a login's time that one attempt at a reader may take, since
// there may be others: a third.
const readerShare = 3

// Attempt returns the context of a login's attempt along route. At a reader it ends when a
// third of the time is over that ctx has left.
func (s *Servers) Attempt(ctx context.Context, route Route) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if s == nil || !ok || s.Wanted(route) != Reader {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/readerShare)
}

// IsSilent reports whether err says of a reader that it did not answer in the time that
// [Servers.Attempt] gave: another may. There is but one writer, and it may be slow.
func (s *Servers) IsSilent(route Route, err error) bool {
	return s.Wanted(route) == Reader && fault.As(err).Kind == fault.Timeout
}
