package secrets

import "time"

// moveTo files where AWSCURRENT says that the database is. The versions under other
// labels are for there too, whatever they say themselves: they contribute user and
// password. What the database elsewhere said of versions counts no longer. c.mu is held.
func (c *Cache) moveTo(e Endpoint) {
	if e == c.endpoint {
		return
	}
	elsewhere := !e.samePlace(c.endpoint)
	c.endpoint = e
	for stage, l := range c.labels {
		if l.cred != nil {
			moved := *l // logins may hold the old one
			moved.cred = c.held(l.cred.at(e))
			c.labels[stage] = &moved
		}
	}
	if c.preferred != nil {
		c.preferred = c.held(c.preferred.at(e))
	}
	if elsewhere {
		clear(c.refused)
		c.accepted, c.trustUntil, c.staleRejectionAt = nil, time.Time{}, time.Time{}
		c.rejectedSince, c.acceptedThenRejected = time.Time{}, false
	} else if c.accepted != nil {
		c.accepted = c.held(c.accepted.at(e))
	}
}

func (e Endpoint) samePlace(o Endpoint) bool { return e.Host == o.Host && e.Port == o.Port }

// here returns cred as it is to be offered: at AWSCURRENT's endpoint.
func (c *Cache) here(cred *Credential) *Credential {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held(cred.at(c.endpoint))
}

// held returns the credential in memory that is the same as cred, or else cred. c.mu is
// held.
func (c *Cache) held(cred *Credential) *Credential {
	for _, known := range []*Credential{c.accepted, c.preferred} {
		if known != nil && known.same(cred) {
			return known
		}
	}
	for _, l := range c.labels {
		if l.cred != nil && l.cred.same(cred) {
			return l.cred
		}
	}
	return cred
}

// same compares contents too: an overwritten version keeps its id in no source
// that behaves, but a stale password would be worse than a comparison.
func (c *Credential) same(o *Credential) bool {
	return c == o || c.VersionID == o.VersionID && c.Username == o.Username && c.Expires.Equal(o.Expires) &&
		c.Endpoint == o.Endpoint && c.reveal() == o.reveal()
}
