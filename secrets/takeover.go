package secrets

import (
	"maps"
)

// TakeOver makes what old knows the beginning of c: the credential and what labels
// named, and, of the same database, what that said of versions. Their sources must
// be of the same secret. Call it before Run.
func (c *Cache) TakeOver(old *Cache, sameDatabase bool) {
	old.mu.Lock()
	defer old.mu.Unlock()
	if old.preferred == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.labels, c.described, c.preferred = maps.Clone(old.labels), old.described, old.preferred
	c.lastGood, c.rotated, c.endpoint = old.lastGood, old.rotated, old.endpoint
	if sameDatabase {
		c.refused, c.accepted, c.acceptedAt = maps.Clone(old.refused), old.accepted, old.acceptedAt
		c.rejectedSince, c.acceptedThenRejected = old.rejectedSince, old.acceptedThenRejected
	} else if l := c.labels[Current]; l != nil && l.cred != nil {
		c.preferred = l.cred
	}
}

// TakeOverEmergency moves an emergency from old to c, where it ends when it would
// have. It reports whether there was one.
func (c *Cache) TakeOverEmergency(old *Cache) bool {
	old.mu.Lock()
	was := old.emergency
	old.emergency = nil
	var cred *Credential
	if was != nil {
		cred = was.cred
	}
	old.mu.Unlock()
	if was == nil {
		return false
	}
	was.timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setEmergency(cred, was.until)
	return true
}
