package secrets

import (
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// breakerFailures is after how many failures in a row a source is left alone,
	// for breakerOpen. Logins that need it fail at once meanwhile.
	breakerFailures = 5
	breakerOpen     = 2 * time.Second
)

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
