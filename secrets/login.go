package secrets

import (
	"context"
	"fmt"
	"time"
)

// Login calls try with one credential after another until the database accepts
// one. try returns nil if it did, an error made by [Rejected] if the database
// refused the credential itself, and any other error to end the login as it is.
//
// It offers what was accepted last (or AWSCURRENT, if that has moved since),
// then AWSCURRENT fetched anew, AWSPENDING and AWSPREVIOUS, each version at most
// once, and none that was refused within the last 30 seconds while nothing
// moved. If none is accepted the error is the database's last refusal, perhaps
// one given to an earlier login, or else the source's [Error].
func (c *Cache) Login(ctx context.Context, try func(context.Context, *Credential) error) error {
	l := login{cache: c, try: try, tried: map[string]bool{}}
	for _, cred := range c.heldInOrder() {
		if done, err := l.offer(ctx, cred, Current); done {
			return err
		}
	}
	for _, stage := range []Stage{Current, Pending, Previous} {
		found, err := c.look(ctx, stage, l.refusedAt, l.reason())
		if err != nil {
			return err
		}
		if found.err != nil {
			l.sourceFailed(found.err)
			continue
		}
		if done, err := l.offer(ctx, found.cred, stage); done {
			return err
		}
	}
	return l.failure()
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

// login is one run of Cache.Login.
type login struct {
	cache     *Cache
	try       func(context.Context, *Credential) error
	tried     map[string]bool
	refusedAt time.Time // when the latest refusal that we know of was given
	refusal   error     // and what the database said
	source    error     // the first failure of the source that matters
}

// offer tries cred unless it was tried or is known to be refused. done says
// that the login is over, with err as its result.
func (l *login) offer(ctx context.Context, cred *Credential, stage Stage) (done bool, err error) {
	if l.tried[cred.VersionID] {
		return false, nil
	}
	l.tried[cred.VersionID] = true
	if r, ok := l.cache.remembered(cred); ok {
		l.refused(r)
		return false, nil
	}
	err = l.try(ctx, cred)
	if err != nil && IsRejected(err) {
		l.refused(l.cache.reject(cred, err))
	} else if err == nil {
		l.cache.accept(cred)
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
	c.accepted = cred
	if c.first == nil {
		c.first = cred
	} else if _, bad := c.refused[c.first.VersionID]; bad {
		c.first = cred
	}
}

// reject files that the database refused cred. If it is the one accepted last,
// the database has moved on, and older refusals say nothing any more.
func (c *Cache) reject(cred *Credential, err error) refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := refusal{at: time.Now(), err: err}
	if c.accepted == cred {
		clear(c.refused)
		c.accepted = nil
	}
	for id, old := range c.refused {
		if r.at.Sub(old.at) > rejectedFor || len(c.refused) >= maxRefused {
			delete(c.refused, id)
		}
	}
	c.refused[cred.VersionID] = r
	return r
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
	if time.Since(r.at) >= rejectedFor {
		c.refused[cred.VersionID] = refusal{at: time.Now(), err: r.err}
		return r, false
	}
	return r, true
}

// Status is what a cache knows, for probes and status pages.
type Status struct {
	Source   string      // the source's Kind
	First    *Credential // what the next login offers first; nil if nothing is held
	Accepted bool        // the database took First
	Refused  bool        // the database refused First, and nothing moved since
	Since    time.Time   // when the source last gave AWSCURRENT; zero if never
	Err      error       // why the source's last answer was an error; nil if it was not
}

// Status returns what the cache knows now.
func (c *Cache) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Source: c.src.Kind(), First: c.first, Since: c.lastGood}
	if c.first != nil {
		s.Accepted = c.accepted == c.first
		_, s.Refused = c.refused[c.first.VersionID]
	}
	if l := c.labels[Current]; l != nil {
		s.Err = l.err
	}
	return s
}
