package secrets

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Login calls try with one credential after another until the database accepts
// one. try returns nil if it did, an error made by [Rejected] if the database
// refused the credential itself, and any other error to end the login as it is.
//
// It offers what was accepted last (or AWSCURRENT, if that has moved since),
// then AWSCURRENT fetched anew, AWSPENDING and AWSPREVIOUS, each version once
// unless the database changes its mind meanwhile, and none that was refused
// within the last 30 seconds while nothing moved. If none is accepted the error is the database's last refusal, perhaps
// one given to an earlier login, or else the source's [Error].
func (c *Cache) Login(ctx context.Context, try func(context.Context, *Credential) error) error {
	l := login{cache: c, try: try, tried: map[string]time.Time{}}
	for _, cred := range c.heldInOrder() {
		if done, err := l.offer(ctx, cred, c.heldUnder(cred)); done {
			return l.elsewhere(ctx, cred, err)
		}
	}
	for _, stage := range []Stage{Current, Pending, Previous} {
		found, err := c.look(ctx, stage, l.refusedAt, l.reason())
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
			return err
		}
	}
	return l.failure()
}

// elsewhere goes on after a login that failed with err because the database is
// not where held says. The secret may name another place by now.
func (l *login) elsewhere(ctx context.Context, held *Credential, err error) error {
	if !isUnreached(err) {
		return err
	}
	found, lookErr := l.cache.look(ctx, Current, time.Time{}, ReasonUnreached)
	if lookErr != nil || found.err != nil || found.cred.Endpoint == held.Endpoint {
		return err
	}
	delete(l.tried, found.cred.VersionID) // a file's version is its login alone
	if done, again := l.offer(ctx, found.cred, Current); done {
		return again
	}
	return err
}

// heldInOrder returns what can be offered without asking the source.
func (c *Cache) heldInOrder() []*Credential {
	first := c.firstHeld()
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

// heldUnder returns the label that cred was last fetched under: until a refresh,
// that of a credential taken up in a rotation's window is AWSPENDING.
func (c *Cache) heldUnder(cred *Credential) Stage {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, stage := range []Stage{Current, Pending, Previous} {
		if l := c.labels[stage]; l != nil && l.cred != nil && l.cred.VersionID == cred.VersionID {
			return stage
		}
	}
	return Current
}

// login is one run of Cache.Login.
type login struct {
	cache     *Cache
	try       func(context.Context, *Credential) error
	tried     map[string]time.Time // by version id: when it was refused
	refusedAt time.Time            // when the latest refusal that we know of was given
	refusal   error                // and what the database said
	source    error                // the first failure of the source that matters
}

// offer tries cred unless it was tried or is known to be refused. done says
// that the login is over, with err as its result.
func (l *login) offer(ctx context.Context, cred *Credential, stage Stage) (done bool, err error) {
	if at, ok := l.tried[cred.VersionID]; ok && !l.cache.turnedSince(at) {
		return false, nil
	}
	if r, ok := l.cache.remembered(cred); ok {
		l.refused(r)
		return false, nil
	}
	began := time.Now()
	err = l.try(ctx, cred)
	if err != nil && IsRejected(err) {
		r := l.cache.reject(cred, stage, began, err)
		l.tried[cred.VersionID] = r.at
		l.refused(r)
	} else if err == nil {
		l.cache.accept(cred)
	} else {
		l.cache.undecided(cred)
	}
	l.cache.opt.Notify(Event{Kind: Tried, Stage: stage, Credential: cred, Err: err})
	return err == nil || !IsRejected(err), err
}

func (l *login) refused(r refusal) {
	l.refusal = r.err
	if r.at.After(l.refusedAt) {
		l.refusedAt = r.at
	}
}

func (l *login) reason() string {
	if l.refusal != nil {
		return ReasonRejected
	}
	return l.cache.whyFetch()
}

// sourceFailed keeps the failure that explains most: a label that names nothing
// explains nothing.
func (l *login) sourceFailed(err error) {
	if l.source == nil && ReasonOf(err) != NoVersion {
		l.source = err
	}
}

// ofVersion tells whether err may be true of one version of the secret only, so
// that another label is worth a look.
func ofVersion(err error) bool {
	reason := ReasonOf(err)
	return reason == Malformed || reason == NoVersion
}

// noTime is the error of a login that ended while it waited for the source.
func (l *login) noTime(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	l.sourceFailed(Errorf(Unavailable, "the source of the credential did not answer in time: %w", err))
	return l.failure()
}

func (l *login) failure() error {
	switch {
	case l.refusal != nil && l.source != nil:
		return fmt.Errorf("%w (and looking for another version failed: %w)", l.refusal, l.source)
	case l.refusal != nil:
		return l.refusal
	case l.source != nil:
		return l.source
	}
	return Errorf(NoVersion, "the secret has no version with a staging label")
}

// accept files that the database took cred. It comes first from now on unless
// AWSCURRENT has moved to a version that nobody has tried yet.
func (c *Cache) accept(cred *Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.refused, cred.VersionID)
	if c.accepted != cred {
		c.accepted, c.turned = cred, time.Now()
	}
	if c.first == nil {
		c.first = cred
	} else if _, bad := c.refused[c.first.VersionID]; bad {
		c.first = cred
	}
}

// reject files that the database refused cred. If it is the one accepted last,
// the database has moved on, and older refusals say nothing any more; nor does
// one of an attempt that began before the database moved.
func (c *Cache) reject(cred *Credential, stage Stage, began time.Time, err error) refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := refusal{at: time.Now(), err: err}
	r.until = r.at.Add(rejectedFor)
	if stage == Pending {
		r.until = r.at.Add(rejectedPendingFor)
	}
	outdated := c.accepted != cred && began.Before(c.turned)
	if c.accepted == cred {
		clear(c.refused)
		c.accepted, c.turned = nil, r.at
	}
	for id, old := range c.refused {
		if r.at.After(old.until) || len(c.refused) >= maxRefused {
			delete(c.refused, id)
		}
	}
	if outdated {
		r.at = began
		return r
	}
	c.refused[cred.VersionID] = r
	return r
}

// turnedSince tells whether the database has changed its mind after a moment:
// took another credential than before, or ceased to take one. What it said
// before may be wrong now.
func (c *Cache) turnedSince(at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return at.Before(c.turned)
}

// remembered tells whether cred was refused lately. When its time is up, the
// first to ask may try it again, alone.
func (c *Cache) remembered(cred *Credential) (refusal, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.refused[cred.VersionID]
	if !ok {
		return r, false
	}
	if now := time.Now(); !now.Before(r.until) {
		c.refused[cred.VersionID] = refusal{at: r.at, until: now.Add(rejectedPendingFor), err: r.err}
		return r, false
	}
	return r, true
}

// undecided files that a login with cred ended without the database's verdict on
// it: the next login may try it at once.
func (c *Cache) undecided(cred *Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.refused[cred.VersionID]; ok {
		r.until = time.Now()
		c.refused[cred.VersionID] = r
	}
}

// Status is what a cache knows, for probes and status pages.
type Status struct {
	Source   string      // the source's Kind
	First    *Credential // what the next login offers first; nil if nothing is held
	Accepted bool        // the database took First
	Refused  bool        // the database refused First lately, and nothing moved since
	Stale    bool        // First has expired, or is older than MaxStale
	Since    time.Time   // when the source last gave AWSCURRENT; zero if never
	Err      error       // why the source's last answer was an error; nil if it was not
}

// Status returns what the cache knows now.
func (c *Cache) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Source: c.src.Kind(), First: c.first, Since: c.lastGood}
	if c.first != nil {
		s.Stale = c.stale(c.first)
		s.Accepted = c.accepted == c.first
		r, refused := c.refused[c.first.VersionID]
		s.Refused = refused && time.Now().Before(r.until)
	}
	if l := c.labels[Current]; l != nil {
		s.Err = l.err
	}
	return s
}
