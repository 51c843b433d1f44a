package upstream

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
)

const (
	// breakerFailures is after how many failed dials in a row a database is left
	// alone, for breakerOpen. Logins fail at once meanwhile; then one dial at a
	// time finds out whether it is back.
	breakerFailures = 5
	breakerOpen     = time.Second
)

// Breaker is the circuit breaker in front of one database, so that clients are
// not each held for a dial timeout while it is away. A dial that its client broke
// off says nothing. When the database's place changes (host or port) the breaker
// begins anew: what was learned of the old place is not held against the new one.
type Breaker struct {
	log    *zap.Logger
	opened func(bool)

	mu      sync.Mutex
	current *circuit
}

// circuit is the breaker of one place.
type circuit struct {
	*gobreaker.CircuitBreaker[net.Conn]
	target string       // host:port
	last   *fault.Error // why the last dial failed
	since  time.Time    // when it opened; zero while it is closed
	retry  time.Time    // when the next trial may be made
}

// BreakerStatus is what a breaker knows.
type BreakerStatus struct {
	State   string       // closed, open or half-open
	Since   time.Time    // when it opened; zero while it is closed
	RetryAt time.Time    // when it lets the next dial through, while it is open
	Err     *fault.Error // why the last dial failed, unless it is closed
}

// NewBreaker makes a closed breaker that says in the log, and to opened, when the
// database cannot be reached (true), and when it can again (false). opened must not
// block.
func NewBreaker(log *zap.Logger, opened func(bool)) *Breaker {
	b := &Breaker{log: log, opened: opened}
	b.current = b.circuit("")
	return b
}

// Status returns what the breaker knows now.
func (b *Breaker) Status() BreakerStatus {
	b.mu.Lock()
	c := b.current
	b.mu.Unlock()
	state := c.State() // takes its own lock, under which changed takes ours
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BreakerStatus{State: state.String(), Since: c.since}
	if state != gobreaker.StateClosed {
		s.Err = c.last
	}
	if state == gobreaker.StateOpen {
		s.RetryAt = c.retry
	}
	return s
}

// dial calls do, unless target is left alone now. do's error is counted if it is
// a *fault.Error of kind Unreachable.
func (b *Breaker) dial(target string, do func() (net.Conn, error)) (net.Conn, error) {
	c := b.of(target)
	conn, err := c.Execute(func() (net.Conn, error) {
		conn, err := do()
		if e, ok := unreachable(err); ok {
			b.mu.Lock()
			c.last = e
			b.mu.Unlock()
		}
		return conn, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return nil, b.leftAlone(c)
	}
	return conn, err
}

func unreachable(err error) (*fault.Error, bool) {
	e, ok := errors.AsType[*fault.Error](err)
	return e, ok && e.Kind == fault.Unreachable
}

// leftAlone is the error of a dial that was not made: the last one's, and that
// nobody need do anything.
func (b *Breaker) leftAlone(c *circuit) *fault.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := *c.last // it opened because of one
	e.Hint += " credproxy tries again by itself, every second."
	e.Err = fmt.Errorf("not dialled again within %v of a failure: %w", breakerOpen, c.last.Err)
	return &e
}

// of returns the circuit of target.
func (b *Breaker) of(target string) *circuit {
	b.mu.Lock()
	defer b.mu.Unlock()
	if was := b.current; was.target != target {
		b.current = b.circuit(target)
		if !was.since.IsZero() {
			b.log.Info("the database is somewhere else now", zap.String("target", target), zap.String("before", was.target))
			b.opened(false)
		}
	}
	return b.current
}

// Forget has the breaker begin anew: the database is known to be reached, there or elsewhere.
func (b *Breaker) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.current
	b.current = b.circuit(was.target)
	if !was.since.IsZero() {
		b.opened(false)
	}
}

func (b *Breaker) circuit(target string) *circuit {
	c := &circuit{target: target}
	c.CircuitBreaker = gobreaker.NewCircuitBreaker[net.Conn](gobreaker.Settings{
		Timeout:       breakerOpen,
		ReadyToTrip:   func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerFailures },
		IsExcluded:    func(err error) bool { _, counts := unreachable(err); return err != nil && !counts },
		OnStateChange: func(_ string, from, to gobreaker.State) { b.changed(c, from, to) },
	})
	return c
}

// changed writes one line when the database goes and one when it is back. The
// trials between are for those who debug.
func (b *Breaker) changed(c *circuit, from, to gobreaker.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c != b.current { // its place is history
		return
	}
	now, fields := time.Now(), []zap.Field{zap.String("target", c.target)}
	switch {
	case to == gobreaker.StateClosed:
		b.log.Info("the database can be reached again", append(fields, zap.Duration("after", now.Sub(c.since)))...)
		c.since = time.Time{}
		b.opened(false)
	case from == gobreaker.StateClosed:
		c.since, c.retry = now, now.Add(breakerOpen)
		b.log.Error("the database cannot be reached: logins fail at once until it can",
			append(fields, zap.Int("failures", breakerFailures), zap.Error(c.last), zap.String("hint", c.last.Hint))...)
		b.opened(true)
	case to == gobreaker.StateOpen:
		c.retry = now.Add(breakerOpen)
		b.log.Debug("the database still cannot be reached", append(fields, zap.Error(c.last))...)
	}
}
