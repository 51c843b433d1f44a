package secrets

import "maps"

// TakeOver makes what old knows the beginning of c: the credential, what labels
// named, and what the database said of versions. Their sources must be of the same
// secret. Call it before Run.
func (c *Cache) TakeOver(old *Cache) {
	old.mu.Lock()
	defer old.mu.Unlock()
	if old.first == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.labels, c.described, c.refused = maps.Clone(old.labels), old.described, maps.Clone(old.refused)
	c.first, c.accepted, c.acceptedAt = old.first, old.accepted, old.acceptedAt
	c.lastGood, c.rotated, c.trouble, c.lost = old.lastGood, old.rotated, old.trouble, old.lost
}

// TakeOverEmergency moves an emergency from old to c, where it ends when it would
// have. It tells whether there was one.
func (c *Cache) TakeOverEmergency(old *Cache) bool {
	old.mu.Lock()
	was := old.emergency
	old.emergency = nil
	old.mu.Unlock()
	if was == nil {
		return false
	}
	was.timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setEmergency(was.cred, was.until)
	return true
}
