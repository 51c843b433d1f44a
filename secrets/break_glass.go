package secrets

import (
	"context"
	"errors"
	"time"
)

// emergency is the time in which logins use a credential given by hand.
type emergency struct {
	cred       *Credential
	until      time.Time
	timer      *time.Timer
	turn       chan struct{} // holds a token while one login finds out whether the database takes cred
	trustUntil time.Time     // logins may offer cred without waiting for a verdict
}

// BreakGlass makes every login offer cred first, for the duration given, at AWSCURRENT's
// endpoint unless it names a host itself. If the database refuses it, the login goes on
// as it would without. The emergency ends by itself, at EndBreakGlass, or when another
// one begins; sessions under way do not notice.
func (c *Cache) BreakGlass(cred *Credential, d time.Duration) {
	c.EndBreakGlass()
	c.mu.Lock()
	c.setEmergency(cred, time.Now().Add(d))
	delete(c.refused, cred.VersionID)
	c.mu.Unlock()
	c.opt.Notify(Event{Kind: EmergencyBegan, Stage: Emergency, Credential: cred})
}

// setEmergency has an emergency last until the time given. c.mu is held.
func (c *Cache) setEmergency(cred *Credential, until time.Time) {
	e := &emergency{cred: cred, until: until, turn: make(chan struct{}, 1)}
	e.timer = time.AfterFunc(time.Until(until), func() { c.endEmergency(e) })
	c.emergency = e
	close(c.nextEmergency)
	c.nextEmergency = make(chan struct{})
}

// emergencyStarted is closed when the next emergency begins: those who wait for a rotation
// need not wait any longer.
func (c *Cache) emergencyStarted() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nextEmergency
}

// EndBreakGlass ends the emergency and reports whether there was one.
func (c *Cache) EndBreakGlass() bool {
	c.mu.Lock()
	e := c.emergency
	c.mu.Unlock()
	return e != nil && c.endEmergency(e)
}

func (c *Cache) endEmergency(e *emergency) bool {
	c.mu.Lock()
	mine, cred := c.emergency == e, e.cred
	if mine {
		c.emergency = nil
	}
	c.mu.Unlock()
	if !mine {
		return false
	}
	e.timer.Stop()
	c.opt.Notify(Event{Kind: EmergencyEnded, Stage: Emergency, Credential: cred})
	return true
}

// inEmergency returns the emergency that there is now; nil for none. It compares wall
// clocks, because timers stand still while a machine sleeps.
func (c *Cache) inEmergency() *emergency {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.emergency == nil || !time.Now().Round(0).Before(c.emergency.until.Round(0)) {
		return nil
	}
	return c.emergency
}

// emergencyCredential returns what logins offer in e, nil if that is nil: where
// AWSCURRENT says that the database is, unless it names a host itself.
func (c *Cache) emergencyCredential(e *emergency) *Credential {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e == nil {
		return nil
	}
	if e.cred.own().Endpoint.Host == "" && e.cred.Endpoint != c.endpoint {
		e.cred, e.trustUntil = e.cred.at(c.endpoint), time.Time{}
	}
	return e.cred
}

// emergencyTrusted reports whether any number of logins may offer the credential of e at
// the same time: the database took it last, or has just given no verdict.
func (c *Cache) emergencyTrusted(e *emergency) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(e.trustUntil)
}

// offerEmergency is offer for the emergency credential: what the database says of
// it says nothing about the secret's versions. Until the database takes it one login
// at a time offers it, because failed logins may lock the account.
func (l *login) offerEmergency(ctx context.Context, e *emergency) (done bool, err error) {
	c := l.cache
	if c.refusedLately(c.emergencyCredential(e)) {
		return false, nil
	}
	if !c.emergencyTrusted(e) {
		if err := l.turn(ctx, e.turn); err != nil {
			return !errors.Is(err, errEmergency), err
		}
		if c.emergencyTrusted(e) { // the verdict came while we waited
			<-e.turn
		} else {
			defer func() { <-e.turn }()
		}
	}
	cred := c.emergencyCredential(e)
	if _, refused := c.remembered(cred); refused || c.inEmergency() != e {
		return false, nil
	}
	err = l.try(ctx, cred)
	if errors.Is(err, errRejectedElsewhere) {
		return false, nil
	}
	c.fileEmergency(ctx, e, cred, verdict(err))
	c.opt.Notify(Event{Kind: Tried, Stage: Emergency, Credential: cred, Err: verdict(err), Peer: peerOf(ctx)})
	return !IsRejected(err), err
}

// fileEmergency files what the database said of the credential of e.
func (c *Cache) fileEmergency(ctx context.Context, e *emergency, cred *Credential, verdict error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, refused := c.refused[cred.VersionID]
	switch now := time.Now(); {
	case verdict == nil:
		delete(c.refused, cred.VersionID)
		e.trustUntil = e.until
	case IsRejected(verdict):
		cred.noteRefusal()
		c.refused[cred.VersionID] = refusal{at: now, until: now.Add(rejectedFor), err: verdict}
		e.trustUntil = time.Time{}
	case !refused && saysSomething(ctx, verdict) && e.trustUntil.Before(now.Add(trustFor)):
		e.trustUntil = now.Add(trustFor)
	}
}
