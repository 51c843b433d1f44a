package secrets

import (
	"context"
	"errors"
	"time"
)

// emergency is the time in which logins use a credential given by hand.
type emergency struct {
	cred  *Credential
	until time.Time
	timer *time.Timer
}

// BreakGlass makes every login offer cred first, for the duration given. If the
// database refuses it, the login goes on as it would without. The emergency ends
// by itself, at EndBreakGlass, or when another one begins; sessions under way do
// not notice.
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
	e := &emergency{cred: cred, until: until}
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
	mine := c.emergency == e
	if mine {
		c.emergency = nil
	}
	c.mu.Unlock()
	if !mine {
		return false
	}
	e.timer.Stop()
	c.opt.Notify(Event{Kind: EmergencyEnded, Stage: Emergency, Credential: e.cred})
	return true
}

// inEmergency returns the emergency credential while there is an emergency. It
// compares wall clocks, because timers stand still while a machine sleeps.
func (c *Cache) inEmergency() *Credential {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.emergency == nil || !time.Now().Round(0).Before(c.emergency.until.Round(0)) {
		return nil
	}
	return c.emergency.cred
}

// offerEmergency is offer for the emergency credential: what the database says of
// it says nothing about the secret's versions.
func (l *login) offerEmergency(ctx context.Context, cred *Credential) (done bool, err error) {
	c := l.cache
	if _, refused := c.remembered(cred); refused {
		return false, nil
	}
	if err = l.try(ctx, cred); errors.Is(err, errRejectedElsewhere) {
		return false, nil
	}
	c.opt.Notify(Event{Kind: Tried, Stage: Emergency, Credential: cred, Err: err, Peer: peerOf(ctx)})
	if !IsRejected(err) {
		return true, err
	}
	cred.noteRefusal()
	c.mu.Lock()
	c.refused[cred.VersionID] = refusal{at: time.Now(), until: time.Now().Add(rejectedFor), err: err}
	c.mu.Unlock()
	return false, nil
}
