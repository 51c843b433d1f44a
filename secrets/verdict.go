package secrets

import (
	"math/rand/v2"
	"time"
)

const (
	// rejectedFor is how long a version that the database refused is not
	// offered again, unless something moved meanwhile. AWSPENDING is refused
	// until setSecret, and then is right from one moment to the next: it is
	// offered more often for as long as logins wait for that, Options.Grace or
	// rejectedFor.
	rejectedFor        = 30 * time.Second
	rejectedPendingFor = 3 * time.Second
	// trustFor is how long after an acceptance logins need no further proof. It
	// bounds how many of them a rotation can surprise: those that begin within
	// this time of a login before it, and no others.
	trustFor = time.Second
	// doubtTokens is after how many refusals in a row a user's tokens are doubted that
	// the database took before. RDS refuses a good one when it is short of CPU.
	doubtTokens = 8
	// maxDoubts is how many of them one login tries again after.
	maxDoubts = 1
	// minLookAgain and maxLookAgain bound the wait between two rounds of a probe.
	minLookAgain = 100 * time.Millisecond
	maxLookAgain = 5 * time.Second
	// maxRefused caps the memory of refused versions. A secret has at most
	// about 100 versions; three carry labels.
	maxRefused = 16
)

// cachedUnder returns the label that cred was last fetched under: until a refresh,
// that of a credential taken up in a rotation's window is AWSPENDING.
func (c *Cache) cachedUnder(cred *Credential) Stage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stageOf(cred)
}

// stageOf is cachedUnder with c.mu held.
func (c *Cache) stageOf(cred *Credential) Stage {
	for _, stage := range []Stage{Current, Pending, Previous} {
		if l := c.labels[stage]; l != nil && l.cred != nil && l.cred.VersionID == cred.VersionID {
			return stage
		}
	}
	return Current
}

// unconfirmed reports whether the source could not be asked when it last should
// have been.
func (c *Cache) unconfirmed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.labels[Current]
	return l != nil && l.err != nil && ReasonOf(l.err) == Unavailable
}

// trusted returns the credential that any number of logins may offer at the same
// time, or nil if one login has to find out first: the database has accepted it
// just now, or has just given no verdict, so that there is nobody to wait for.
func (c *Cache) trusted() *Credential {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.preferred == nil || c.stale(c.preferred) || !time.Now().Before(c.trustUntil) || c.isRefused(c.preferred) {
		return nil
	}
	return c.preferred
}

// accept files that the database took cred in an attempt that began at began. It
// comes first from now on unless AWSCURRENT has moved to a version that nobody has
// tried yet. What began before a doubt does not end it: it may have been taken before
// the database changed. What was taken at the place before says nothing of this one.
func (c *Cache) accept(cred *Credential, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !cred.Endpoint.samePlace(c.endpoint) || c.accepted == cred && began.Before(c.staleRejectionAt) {
		return
	}
	delete(c.refused, cred.VersionID)
	c.accepted, c.acceptedAt, c.staleRejectionAt = cred, time.Now(), time.Time{}
	c.tokensRefused = 0
	if c.preferred == nil {
		c.preferred = cred
	} else if _, bad := c.refused[c.preferred.VersionID]; bad {
		c.preferred = cred
	}
	if c.preferred == cred {
		c.trustUntil = time.Now().Add(trustFor)
		c.rejectedSince, c.acceptedThenRejected = time.Time{}, false
	}
}

// reject files that the database refused cred. If it is the one accepted last,
// the database has moved on, and older refusals say nothing any more; but not if
// it took cred from another login since this attempt began. The refusal of a token is
// the login's own affair while the database takes the user's tokens from others, and is
// not filed: it has no until. Neither is what a database said at the place before.
func (c *Cache) reject(cred *Credential, stage Stage, began time.Time, err error) refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := refusal{at: time.Now(), err: err}
	if !cred.Endpoint.samePlace(c.endpoint) {
		return r
	}
	if cred.Kind() == Token && c.accepted != nil {
		if c.tokensRefused++; c.tokensRefused < doubtTokens {
			return r
		}
	} else if c.accepted == cred && began.Before(c.acceptedAt) {
		c.staleRejectionAt = r.at
		if c.preferred == cred {
			c.trustUntil = time.Time{} // which of the two is true now, one login finds out
		}
		return r
	}
	cred.noteRefusal()
	if c.rejectedSince.IsZero() {
		c.rejectedSince = r.at
	}
	r.until = r.at.Add(rejectedFor)
	if stage == Pending && r.at.Sub(c.rejectedSince) < max(c.opt.Grace, rejectedFor) { // else it will not come right by itself
		r.until = r.at.Add(rejectedPendingFor)
	}
	if c.accepted != nil && (c.accepted == cred || cred.Kind() == Token) {
		clear(c.refused)
		c.accepted, c.acceptedThenRejected = nil, cred.Kind() == Password // tokens do not rotate
	}
	if c.preferred == cred {
		c.trustUntil = time.Time{}
	}
	for id, old := range c.refused {
		if r.at.After(old.until) || len(c.refused) >= maxRefused {
			delete(c.refused, id)
		}
	}
	c.refused[cred.VersionID] = r
	return r
}

// lookAgainIn returns how long to wait before round n+1 of a probe that every
// version has failed, or that there is no use in waiting. There is while a
// rotation has begun (AWSPENDING is not AWSCURRENT) or may have (the database
// refuses what it accepted before), for the grace after the first refusal.
func (c *Cache) lookAgainIn(n int, grace time.Duration) (wait time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rotating := c.acceptedThenRejected
	if p, cur := c.labels[Pending], c.labels[Current]; p != nil && p.cred != nil && cur != nil && cur.cred != nil {
		rotating = rotating || p.cred.VersionID != cur.cred.VersionID
	}
	left := grace - time.Since(c.rejectedSince)
	if c.acceptedThenRejected && n == 1 && left > -trustFor {
		left = max(left, minLookAgain) // the database turned under our hands: look once more at least
	}
	if !rotating || left <= 0 {
		return 0, false
	}
	top := min(maxLookAgain, minLookAgain<<min(n, 16))
	return min(left, top/2+rand.N(top/2)), true
}

// graceLeft is how much of Options.Grace is left; all of it if there is no trouble.
func (c *Cache) graceLeft() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rejectedSince.IsZero() {
		return c.opt.Grace
	}
	return max(0, c.opt.Grace-time.Since(c.rejectedSince))
}

// remembered reports whether cred was refused lately. When its time is up, the
// first to ask may try it again, alone.
func (c *Cache) remembered(cred *Credential) (refusal, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.refused[cred.VersionID]
	if !ok {
		return r, false
	}
	if now := time.Now(); !now.Before(r.until) {
		c.refused[cred.VersionID] = refusal{at: r.at, until: now.Add(rejectedPendingFor), err: r.err, again: true}
		return r, false
	}
	return r, true
}

// refusedLately reports whether the database refused cred and it is not time to try
// it again.
func (c *Cache) refusedLately(cred *Credential) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isRefused(cred)
}

// isRefused is refusedLately with c.mu held.
func (c *Cache) isRefused(cred *Credential) bool {
	r, ok := c.refused[cred.VersionID]
	return ok && time.Now().Before(r.until)
}

// inconclusive files that a login with cred ended without the database's verdict on
// it: others need not wait for one. A refusal from before stands: of those who wait, the
// next one may try.
func (c *Cache) inconclusive(cred *Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !cred.Endpoint.samePlace(c.endpoint) {
		return
	}
	if r, refused := c.refused[cred.VersionID]; refused {
		r.until, r.again = time.Now(), false
		c.refused[cred.VersionID] = r
	} else if c.preferred == cred {
		c.trustUntil = time.Now().Add(trustFor)
	}
}
