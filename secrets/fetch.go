package secrets

import (
	"context"
	"time"

	"github.com/credproxy/credproxy/tracing"
)

const (
	// fetchTimeout bounds one call to a source, its own retries included.
	fetchTimeout = 10 * time.Second
	// lookAgain is how long what a label named is believed by logins that were
	// refused; that a source cannot be asked is believed for a shorter time.
	lookAgain        = 5 * time.Second
	lookAgainFailure = time.Second
)

// lookup is what a staging label named at one moment.
type lookup struct {
	started time.Time
	cred    *Credential // nil if err
	err     error
	cached  bool   // the version was in memory already
	before  string // the version that the label named before, if that is known
}

// version is the version that the label names or, after a failure, named last;
// "" if it is not known.
func (l *lookup) version() string {
	switch {
	case l == nil:
		return ""
	case l.cred != nil:
		return l.cred.VersionID
	}
	return l.before
}

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
		l, err := c.await(ctx, stage, after, reason)
		// A flight that took off before the moment asked for may know
		// nothing of what happened since: look again.
		if err != nil || !l.started.Before(after) || l.minted() {
			return l, err
		}
	}
}

// await waits for the call to the source that is under way, or else begins one. The error is
// ctx's only.
func (c *Cache) await(ctx context.Context, stage Stage, after time.Time, reason string) (l *lookup, err error) {
	_, span := tracing.Start(ctx, "source")
	span.Text("credproxy.source", c.src.Kind())
	span.Text("credproxy.stage", string(stage))
	span.Text("credproxy.reason", reason)
	done := c.flights.DoChan(string(stage), func() (any, error) {
		return c.fetch(stage, after, reason), nil
	})
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
		span.End(err)
		return nil, err
	case r := <-done:
		l = r.Val.(*lookup)
		if l.cred != nil {
			span.Text("credproxy.version_id", l.cred.ShortVersion())
		}
		if err = l.err; stage != Current && ReasonOf(err) == NoVersion {
			err = nil // as it should be while no rotation is under way
		}
		span.End(err)
		return l, nil
	}
}

// forbidden reports whether the source answered that there is nothing to be had,
// which takes an operator to change: a refusal by the database is no reason to
// ask again.
func (l *lookup) forbidden() bool {
	reason := ReasonOf(l.err)
	return l.err != nil && (reason == Denied || reason == NotFound)
}

// minted reports whether the credential was made for the asking, like an IAM token.
// Another one made a moment later would fare no better, so nobody needs a look
// from after a refusal.
func (l *lookup) minted() bool { return l.cred != nil && !l.cred.Expires.IsZero() }

func (l *lookup) fresh(now time.Time) bool {
	return now.Sub(l.started) < believed(l.err) && (l.err != nil || l.cred == nil || !l.cred.Expired(now))
}

// believed is how long an answer of a source is believed by logins. A source
// that could not be asked may be back at any moment.
func believed(err error) time.Duration {
	if err != nil && ReasonOf(err) == Unavailable {
		return lookAgainFailure
	}
	return lookAgain
}

// fetch asks the source and files the answer, which it did not give before the
// moment given.
func (c *Cache) fetch(stage Stage, after time.Time, reason string) *lookup {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return &lookup{started: time.Now(), err: Errorf(Unavailable, "credproxy is shutting down")}
	}
	c.wg.Add(1)
	c.mu.Unlock()
	defer c.wg.Done()
	ctx, cancel := context.WithTimeout(c.base, fetchTimeout)
	defer cancel()
	l := c.ask(ctx, stage, after)
	kind, answered := Fetched, l.cred
	if l.cached {
		kind = Checked
	}
	rotated := c.record(stage, l)
	c.opt.Notify(Event{Kind: kind, Stage: stage, Credential: answered, Reason: reason, Err: l.err})
	if rotated {
		c.opt.Notify(Event{Kind: Rotated, Stage: stage, Credential: l.cred, Reason: reason})
	}
	return l
}

// ask asks which version carries the label, and for that version if it is not
// held. A source that cannot tell, or may not, is asked for the version at once.
func (c *Cache) ask(ctx context.Context, stage Stage, after time.Time) *lookup {
	src, ok := c.src.(Labelled)
	if ok && !time.Now().Before(c.describeFrom()) {
		d := c.describe(ctx, src, after)
		if d.err == nil {
			return c.named(ctx, src, stage, d)
		}
		if ReasonOf(d.err) != Denied {
			return &lookup{started: d.started, err: d.err}
		}
	}
	l := &lookup{started: time.Now()}
	l.err = c.guard(func() (err error) { l.cred, err = c.src.Fetch(ctx, stage); return err })
	return l
}

// record stores a lookup and reports whether AWSCURRENT moved. A version already
// held stays the same *Credential. When AWSCURRENT moves, refusals are forgotten:
// the database may have moved with it. What another label moves to has not been
// tried in that role. Where the database is AWSCURRENT says alone.
func (c *Cache) record(stage Stage, l *lookup) (rotated bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case l.err != nil:
	case stage == Current:
		l.cred = c.held(l.cred.own())
	default:
		l.cred = c.held(l.cred.at(c.endpoint))
	}
	prev := c.labels[stage]
	l.before = prev.version()
	if l.err != nil && prev != nil && prev.cred != nil && ReasonOf(l.err) != NoVersion {
		if !c.stale(prev.cred) {
			l.cred = prev.cred // keep what is known; remember only that asking failed
		}
		c.labels[stage] = l
		return false
	}
	c.labels[stage] = l
	if stage == Current && l.err == nil {
		c.moveTo(l.cred.Endpoint)
	}
	moved := l.cred != nil && l.before != "" && l.before != l.cred.VersionID
	if moved && l.cred.Expires.IsZero() {
		if delete(c.refused, l.cred.VersionID); stage == Current {
			clear(c.refused)
		}
	}
	if stage != Current || l.err != nil {
		return false
	}
	c.lastGood = l.started
	if c.preferred == nil || moved || c.preferred.VersionID == l.cred.VersionID || c.preferred.Expired(time.Now()) {
		if c.preferred != nil && c.preferred.VersionID != l.cred.VersionID && l.cred.Expires.IsZero() {
			c.trustUntil = time.Time{} // the database may not know this one yet
		}
		c.preferred = l.cred // of the same version only the endpoint can differ
	}
	if moved = moved && l.cred.Expires.IsZero(); moved {
		c.rotated = l.started
	}
	return moved
}

// version returns the held credential with this version id, or nil. c.mu is held.
func (c *Cache) version(id string) *Credential {
	if c.accepted != nil && c.accepted.VersionID == id {
		return c.accepted
	}
	for _, l := range c.labels {
		if l.cred != nil && l.cred.VersionID == id {
			return l.cred
		}
	}
	return nil
}
