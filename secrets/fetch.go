package secrets

import (
	"context"
	"time"
)

// look tells what stage names, as learned after the moment given, and at most
// lookAgain ago. All callers share one fetch. The error is ctx's only.
func (c *Cache) look(ctx context.Context, stage Stage, after time.Time, reason string) (*lookup, error) {
	for {
		c.mu.Lock()
		l := c.labels[stage]
		c.mu.Unlock()
		if l != nil && l.fresh(time.Now()) && (!l.started.Before(after) || l.minted() || l.forbidden()) {
			return l, nil
		}
		done := c.flights.DoChan(string(stage), func() (any, error) {
			return c.fetch(stage, reason), nil
		})
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case r := <-done:
			// A flight that took off before the moment asked for may know
			// nothing of what happened since: look again.
			if l := r.Val.(*lookup); !l.started.Before(after) || l.minted() {
				return l, nil
			}
		}
	}
}

// forbidden tells whether the source answered that there is nothing to be had,
// which takes an operator to change: a refusal by the database is no reason to
// ask again.
func (l *lookup) forbidden() bool {
	reason := ReasonOf(l.err)
	return l.err != nil && (reason == Denied || reason == NotFound)
}

// minted tells whether the credential was made for the asking, like an IAM token.
// Another one made a moment later would fare no better, so nobody needs a look
// from after a refusal.
func (l *lookup) minted() bool { return l.cred != nil && !l.cred.Expires.IsZero() }

func (l *lookup) fresh(now time.Time) bool {
	if l.err != nil && ReasonOf(l.err) != NoVersion {
		return now.Sub(l.started) < lookAgainFailure
	}
	return now.Sub(l.started) < lookAgain && (l.cred == nil || !l.cred.Expired(now))
}

// fetch asks the source once and files the answer.
func (c *Cache) fetch(stage Stage, reason string) *lookup {
	l := &lookup{started: time.Now()}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		l.err = Errorf(Unavailable, "credproxy is shutting down")
		return l
	}
	c.wg.Add(1)
	c.mu.Unlock()
	defer c.wg.Done()
	ctx, cancel := context.WithTimeout(c.base, fetchTimeout)
	defer cancel()
	l.cred, l.err = c.src.Fetch(ctx, stage)
	fetched := l.cred
	rotated := c.file(stage, l)
	c.opt.Notify(Event{Kind: Fetched, Stage: stage, Credential: fetched, Reason: reason, Err: l.err})
	if rotated {
		c.opt.Notify(Event{Kind: Rotated, Stage: stage, Credential: l.cred, Reason: reason})
	}
	return l
}

// file stores a lookup and tells whether AWSCURRENT moved. A version already
// held stays the same *Credential. When a label moves, refusals are forgotten:
// the database may have moved with it.
func (c *Cache) file(stage Stage, l *lookup) (rotated bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.err == nil {
		if held := c.find(l.cred); held != nil {
			l.cred = held
		}
	}
	prev := c.labels[stage]
	if l.err != nil && prev != nil && prev.cred != nil && ReasonOf(l.err) != NoVersion {
		if !c.stale(prev.cred) {
			l.cred = prev.cred // keep what is known; remember only that asking failed
		}
		c.labels[stage] = l
		return false
	}
	c.labels[stage] = l
	moved := prev != nil && prev.cred != nil && l.cred != nil && prev.cred.VersionID != l.cred.VersionID
	if moved && l.cred.Expires.IsZero() {
		clear(c.refused)
	}
	if stage != Current || l.err != nil {
		return false
	}
	c.lastGood = l.started
	if c.first == nil || moved || c.first.VersionID == l.cred.VersionID || c.first.Expired(time.Now()) {
		if c.first != nil && c.first.VersionID != l.cred.VersionID && l.cred.Expires.IsZero() {
			c.trustUntil = time.Time{} // the database may not know this one yet
		}
		c.first = l.cred // of the same version only the endpoint can differ
	}
	return moved && l.cred.Expires.IsZero()
}

// find returns the held credential of the same version, or nil. c.mu is held.
func (c *Cache) find(cred *Credential) *Credential {
	if c.accepted != nil && c.accepted.same(cred) {
		return c.accepted
	}
	for _, l := range c.labels {
		if l.cred != nil && l.cred.same(cred) {
			return l.cred
		}
	}
	return nil
}

// same compares contents too: an overwritten version keeps its id in no source
// that behaves, but a stale password would be worse than a comparison.
func (c *Credential) same(o *Credential) bool {
	return c.VersionID == o.VersionID && c.Username == o.Username && c.Expires.Equal(o.Expires) &&
		c.Endpoint == o.Endpoint && c.Password() == o.Password()
}
