package secrets

import (
	"time"

	"github.com/sony/gobreaker/v2"
)

// Status is what a cache knows, for probes and status pages.
type Status struct {
	Source    string      // the source's Kind
	Preferred *Credential // what the next login offers first; nil if nothing is held
	Stage     Stage       // the label First was last seen under
	Accepted  bool        // the database took First
	Refused   bool        // the database refused First lately, and nothing moved since
	Stale     bool        // First has expired, or is older than MaxStale
	Since     time.Time   // when the source last gave AWSCURRENT; zero if never
	Err       error       // why the source's last answer was an error; nil if it was not

	// SourceLeftAlone says that the source failed so often that it is asked only
	// now and then (circuit breaker).
	SourceLeftAlone bool
	NextRefresh     time.Time // when the source is asked next, unless a login needs it earlier
	NextRotation    time.Time // when AWS plans to have rotated at the latest; zero if it did not say
	LastRotation    time.Time // when AWS rotated last, or, if it did not say, when that was seen; zero for never

	Emergency        *Credential // nil but in an emergency (see Cache.BreakGlass)
	EmergencyUntil   time.Time
	EmergencyRefused bool // by the database, lately: the secret's is offered instead
}

// Status returns what the cache knows now.
func (c *Cache) Status() Status {
	emergency := c.emergencyCredential(c.inEmergency())
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{
		Source: c.src.Kind(), Preferred: c.preferred, Since: c.lastGood,
		SourceLeftAlone: c.breaker.State() != gobreaker.StateClosed,
		NextRefresh:     c.nextRefresh, LastRotation: c.rotated,
	}
	if c.preferred != nil {
		s.Stale = c.stale(c.preferred)
		s.Accepted = c.accepted == c.preferred
		s.Stage = c.stageOf(c.preferred)
		s.Refused = c.isRefused(c.preferred)
	}
	if l := c.labels[Current]; l != nil {
		s.Err = l.err
	}
	if d := c.described; d != nil && d.err == nil {
		s.NextRotation = d.labels.NextRotation
		if !d.labels.LastRotation.IsZero() {
			s.LastRotation = d.labels.LastRotation
		}
	}
	if emergency != nil && c.emergency != nil {
		s.Emergency, s.EmergencyUntil = emergency, c.emergency.until
		s.EmergencyRefused = c.isRefused(emergency)
	}
	return s
}
