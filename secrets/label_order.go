package secrets

import (
	"context"
	"time"

	"github.com/credproxy/credproxy/tracing"
)

// search finds out which version works, and looks again while a rotation may still
// bring one. It runs alone.
func (l *login) search(ctx context.Context) error {
	err := l.round(ctx, l.refusedAt)
	for n := 1; IsRejected(err); n++ {
		wait, ok := l.cache.lookAgainIn(n, l.grace(ctx))
		if !ok {
			return err
		}
		if err := l.pause(ctx, wait); err != nil {
			return err
		}
		clear(l.tried)
		err = l.round(ctx, time.Now())
	}
	return err
}

// pause waits before the next round, in which a rotation may have brought a version that works.
func (l *login) pause(ctx context.Context, wait time.Duration) (err error) {
	_, span := tracing.Start(ctx, "wait for rotation")
	defer func() { endWait(span, err) }()
	select {
	case <-time.After(wait):
		return nil
	case <-l.emergencyStarted:
		return errEmergency
	case <-ctx.Done():
		return l.noTime(context.Cause(ctx))
	}
}

// round offers each version once. What labels name is learned after a moment.
func (l *login) round(ctx context.Context, after time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, l.cache.opt.LoginTimeout)
	defer cancel()
	l.source = nil
	for _, cred := range l.cache.cachedInOrder() {
		if done, err := l.offer(ctx, cred, l.cache.cachedUnder(cred)); done {
			return l.retryAtNewEndpoint(ctx, cred, err)
		}
	}
	for _, stage := range []Stage{Current, Pending, Previous} {
		if l.refusedAt.After(after) {
			after = l.refusedAt
		}
		found, err := l.cache.look(ctx, stage, after, l.reason())
		if err != nil {
			return l.noTime(err)
		}
		if found.err != nil {
			l.sourceFailed(found.err)
			if l.refusal == nil && found.cred == nil && !ofVersion(found.err) {
				break
			}
			if found.cred == nil {
				continue // else what was known before is still worth a try
			}
		}
		if done, err := l.offer(ctx, found.cred, stage); done {
			return l.outranked(found.cred, err)
		}
	}
	return l.failure()
}

// cachedInOrder returns what can be offered without asking the source.
func (c *Cache) cachedInOrder() []*Credential {
	first := c.preferredCached()
	if first == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accepted != nil && c.accepted != first && !c.accepted.Expired(time.Now()) {
		return []*Credential{first, c.accepted}
	}
	return []*Credential{first}
}
