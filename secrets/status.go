package secrets

import (
	"time"
)

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
