package secrets

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// maxBackoff caps the wait between refreshes that fail because the source
	// cannot be asked, and so how late a recovery is noticed; maxBackoffAnswered
	// between those that it answers with a no, which takes an operator to change.
	maxBackoff         = 15 * time.Second
	maxBackoffAnswered = time.Minute
)

// looksPerWindow is how many times a planned rotation is looked for while its
// window is open, and again as long after it.
const looksPerWindow = 48

// expiryMargin is how long before its end an expiring credential is replaced
// in the background. Up to its end it is still served.
const expiryMargin = time.Minute

// Run refreshes AWSCURRENT until ctx ends: at once, then on schedule, more often
// while a rotation is due, before the held credential expires, and whenever a
// [Watcher] says that it changed. Failures are retried with exponential backoff
// and full jitter.
func (c *Cache) Run(ctx context.Context) {
	var watching sync.WaitGroup
	defer watching.Wait()
	if w, ok := c.src.(Watcher); ok {
		watching.Go(func() { _ = w.Watch(ctx, c.noteChange) })
	}
	reason, failures := ReasonStart, 0
	for ctx.Err() == nil {
		l, err := c.look(ctx, Current, time.Now(), reason)
		if err != nil {
			return
		}
		if l.err != nil {
			failures++
		} else {
			failures = 0
		}
		wait, next := c.wait(l, failures)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
			reason = next
		case <-c.changed:
			reason = ReasonChanged
		}
		timer.Stop()
	}
}

func (c *Cache) noteChange() {
	select {
	case c.changed <- struct{}{}:
	default: // one is waiting already
	}
}

// wait is how long to wait before the next refresh, and why it comes then.
func (c *Cache) wait(l *lookup, failures int) (d time.Duration, reason string) {
	if failures > 0 {
		limit := maxBackoff
		if ReasonOf(l.err) != Unavailable {
			limit = maxBackoffAnswered
		}
		d, reason = fullJitter(failures, min(limit, c.opt.Refresh)), ReasonSchedule
	} else {
		d, reason = Jitter(c.opt.Refresh, 0.1), ReasonSchedule
		if due, ok := c.rotationIn(time.Now()); ok && due < d {
			d, reason = due, ReasonRotation
		}
	}
	if l.cred != nil && !l.cred.Expires.IsZero() {
		reason = ReasonExpiry
		if failures == 0 {
			d = min(d, max(time.Second, time.Until(l.cred.Expires)-expiryMargin))
		}
	}
	c.mu.Lock()
	c.nextRefresh = time.Now().Add(d)
	c.mu.Unlock()
	return d, reason
}

// rotationIn returns when to look for a planned rotation. AWS names the end of
// the time in which it may rotate; if rotations fail, that time passes.
func (c *Cache) rotationIn(now time.Time) (d time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.described == nil || c.described.labels.NextRotation.IsZero() || c.described.labels.Window <= 0 {
		return 0, false
	}
	next, window := c.described.labels.NextRotation, c.described.labels.Window
	every := Jitter(window/looksPerWindow, 0.1)
	switch opens := next.Add(-window).Sub(now); {
	case opens > 0:
		return opens + every, true
	case now.Before(next.Add(window)):
		return every, true
	}
	return 0, false
}

// Jitter returns a random duration between d·(1 − fraction) and d·(1 + fraction), so
// that what many processes do on schedule does not fall together.
func Jitter(d time.Duration, fraction float64) time.Duration {
	return time.Duration(float64(d) * (1 - fraction + 2*fraction*rand.Float64()))
}

// fullJitter is the wait before try n (from 1): between nothing and
// min(limit, 1 s · 2ⁿ⁻¹), but at least 100 ms.
func fullJitter(n int, limit time.Duration) time.Duration {
	top := min(limit, time.Second<<min(n-1, 16))
	return 100*time.Millisecond + rand.N(max(top, 1))
}
