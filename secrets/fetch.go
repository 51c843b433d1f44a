package secrets

import (
	"context"
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
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

// description is what a Labelled source told at one moment.
type description struct {
	started time.Time
	labels  Labels
	err     error
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
		done := c.flights.DoChan(string(stage), func() (any, error) {
			return c.fetch(stage, after, reason), nil
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

// named is the version that carries the label according to d.
func (c *Cache) named(ctx context.Context, src Labelled, stage Stage, d *description) *lookup {
	l := &lookup{started: d.started}
	id := d.labels.Versions[stage]
	if id == "" {
		l.err = Errorf(NoVersion, "no version of the secret is labelled %s", stage)
		return l
	}
	c.mu.Lock()
	l.cred = c.version(id)
	c.mu.Unlock()
	if l.cached = l.cred != nil; !l.cached {
		l.err = c.guard(func() (err error) { l.cred, err = src.FetchVersion(ctx, id); return err })
	}
	return l
}

// describe asks which labels there are. An answer from after the moment given
// serves all that ask for lookAgain.
func (c *Cache) describe(ctx context.Context, src Labelled, after time.Time) *description {
	c.describing <- struct{}{} // for fetchTimeout at most
	defer func() { <-c.describing }()
	c.mu.Lock()
	d := c.described
	c.mu.Unlock()
	if d != nil && !d.started.Before(after) && time.Since(d.started) < believed(d.err) {
		return d
	}
	d = &description{started: time.Now()}
	d.err = c.guard(func() (err error) { d.labels, err = src.Describe(ctx); return err })
	c.mu.Lock()
	c.described = d
	c.mu.Unlock()
	if d.err != nil && ReasonOf(d.err) == Denied {
		c.opt.Notify(Event{Kind: DescribeDenied, Err: d.err})
	}
	return d
}

// describeFrom is when to ask for labels next: not for Options.Refresh after it
// was denied.
func (c *Cache) describeFrom() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.described; d != nil && d.err != nil && ReasonOf(d.err) == Denied {
		return d.started.Add(c.opt.Refresh)
	}
	return time.Time{}
}

// newBreaker makes the circuit breaker of a source. Only a source that cannot be
// asked trips it: a refusal, or a secret that is none, is an answer.
func newBreaker() *gobreaker.CircuitBreaker[struct{}] {
	return gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:      breakerOpen,
		ReadyToTrip:  func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerFailures },
		IsSuccessful: func(err error) bool { return err == nil || ReasonOf(err) != Unavailable },
	})
}

// guard asks the source through its circuit breaker: after breakerFailures
// failures in a row it is left alone for breakerOpen, then one call at a time
// finds out whether it is back.
func (c *Cache) guard(ask func() error) error {
	var err error
	_, refused := c.breaker.Execute(func() (struct{}, error) {
		err = ask()
		return struct{}{}, err
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(refused, gobreaker.ErrOpenState) || errors.Is(refused, gobreaker.ErrTooManyRequests):
		return Errorf(Unavailable, "not asked again within %v of a failure: %w", breakerOpen, c.lastFailure)
	case err != nil && ReasonOf(err) == Unavailable:
		c.lastFailure = err
	}
	return err
}

// record stores a lookup and reports whether AWSCURRENT moved. A version already
// held stays the same *Credential. When AWSCURRENT moves, refusals are forgotten:
// the database may have moved with it. What another label moves to has not been
// tried in that role.
func (c *Cache) record(stage Stage, l *lookup) (rotated bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.err == nil {
		if known := c.version(l.cred.VersionID); known != nil && known.same(l.cred) {
			l.cred = known
		}
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

// same compares contents too: an overwritten version keeps its id in no source
// that behaves, but a stale password would be worse than a comparison.
func (c *Credential) same(o *Credential) bool {
	return c.VersionID == o.VersionID && c.Username == o.Username && c.Expires.Equal(o.Expires) &&
		c.Endpoint == o.Endpoint && c.reveal() == o.reveal()
}
