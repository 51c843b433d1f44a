package secrets

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// What Options leaves zero.
const (
	DefaultRefresh      = time.Hour
	DefaultMaxStale     = 24 * time.Hour
	DefaultLoginTimeout = 15 * time.Second
)

const (
	// fetchTimeout bounds one call to a source, its own retries included.
	fetchTimeout = 10 * time.Second
	// expiryMargin is how long before its end an expiring credential is replaced
	// in the background. Up to its end it is still served.
	expiryMargin = time.Minute
	// rejectedFor is how long a version that the database refused is not
	// offered again, unless something moved meanwhile. AWSPENDING is refused
	// until setSecret, and then is right from one moment to the next.
	rejectedFor        = 30 * time.Second
	rejectedPendingFor = 3 * time.Second
	// lookAgain is how long what a label named is believed by logins that were
	// refused; failures are believed for a shorter time.
	lookAgain        = 5 * time.Second
	lookAgainFailure = time.Second
	// trustFor is how long after an acceptance logins need no further proof. It
	// bounds how many of them a rotation can surprise: those that begin within
	// this time of a login before it, and no others.
	trustFor = time.Second
	// minLookAgain and maxLookAgain bound the wait between two rounds of a probe.
	minLookAgain = 100 * time.Millisecond
	maxLookAgain = 5 * time.Second
	// maxStraight caps how often one login goes straight for a credential that
	// others vouch for.
	maxStraight = 8
	// maxBackoff caps the wait between refreshes that fail.
	maxBackoff = 30 * time.Second
	// maxRefused caps the memory of refused versions. A secret has at most
	// about 100 versions; three carry labels.
	maxRefused = 16
)

// Options tune a [Cache]. The zero value is ready to use.
type Options struct {
	// Refresh is how often to look for a new version, ±10 % of jitter; zero
	// means DefaultRefresh.
	Refresh time.Duration
	// MaxStale is how long a cached credential is used while its source fails;
	// zero means DefaultMaxStale.
	MaxStale time.Duration
	// LoginTimeout bounds one round of offers; zero means DefaultLoginTimeout.
	LoginTimeout time.Duration
	// Grace is how long, from the first refusal, logins wait for a rotation to
	// finish; zero for not at all.
	Grace time.Duration
	// Notify hears of every event; nil for none. It is called without locks
	// held and must not block for long.
	Notify func(Event)
}

// Cache keeps the versions of one secret and runs logins with them. It is safe
// for concurrent use.
type Cache struct {
	src     Source
	opt     Options
	flights singleflight.Group
	changed chan struct{} // a source said so; capacity 1

	// base outlives the logins that start a fetch: a client that leaves must
	// not cancel the fetch that others wait for. Close ends it.
	base   context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	labels     map[Stage]*lookup
	first      *Credential // what the next login offers first
	accepted   *Credential // what the database took last, and has not refused since
	acceptedAt time.Time
	refused    map[string]refusal
	lastGood   time.Time // when the source last gave AWSCURRENT

	trustUntil time.Time // logins may offer first without waiting for a verdict
	trouble    time.Time // since when the database refuses; zero if it does not
	lost       bool      // it refuses what it had accepted

	prober chan struct{} // holds a token while one login finds out what works
}

// lookup is what a staging label named at one moment.
type lookup struct {
	started time.Time
	cred    *Credential // nil if err
	err     error
}

// refusal is the database's answer to one version.
type refusal struct {
	at    time.Time
	until time.Time // when it may be offered again
	err   error
}

// New makes a cache over src. It fetches nothing until Run, Login or Get.
// Call Close when done.
func New(src Source, opt Options) *Cache {
	if opt.Refresh <= 0 {
		opt.Refresh = DefaultRefresh
	}
	if opt.MaxStale <= 0 {
		opt.MaxStale = DefaultMaxStale
	}
	if opt.LoginTimeout <= 0 {
		opt.LoginTimeout = DefaultLoginTimeout
	}
	if opt.Notify == nil {
		opt.Notify = func(Event) {}
	}
	base, cancel := context.WithCancel(context.Background())
	return &Cache{
		src: src, opt: opt, base: base, cancel: cancel,
		changed: make(chan struct{}, 1),
		prober:  make(chan struct{}, 1),
		labels:  map[Stage]*lookup{},
		refused: map[string]refusal{},
	}
}

// Close ends fetches under way and waits for them. Logins that need one after it
// fail.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

// Get returns the credential that the next login would offer first, fetching it
// if none is held.
func (c *Cache) Get(ctx context.Context) (*Credential, error) {
	if cred := c.firstHeld(); cred != nil {
		return cred, nil
	}
	l, err := c.look(ctx, Current, time.Time{}, c.whyFetch())
	if err != nil {
		return nil, err
	}
	return l.cred, l.err
}

// firstHeld returns the credential to offer first if one is held that has
// neither expired nor gone stale.
func (c *Cache) firstHeld() *Credential {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == nil || c.stale(c.first) {
		return nil
	}
	return c.first
}

// stale tells whether a held credential may not be used any more. c.mu is held.
func (c *Cache) stale(cred *Credential) bool {
	now := time.Now()
	return cred.Expired(now) || now.Sub(c.lastGood) > c.opt.MaxStale
}

func (c *Cache) whyFetch() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.first == nil:
		return ReasonStart
	case c.first.Expired(time.Now()):
		return ReasonExpiry
	}
	return ReasonSchedule
}

// Run refreshes AWSCURRENT until ctx ends: at once, then on schedule, before the
// held credential expires, and whenever a [Watcher] says that it changed.
// Failures are retried with exponential backoff and full jitter.
func (c *Cache) Run(ctx context.Context) {
	var watching sync.WaitGroup
	defer watching.Wait()
	if w, ok := c.src.(Watcher); ok {
		watching.Go(func() { _ = w.Watch(ctx, c.noteChange) })
	}
	reason, failures := ReasonStart, 0
	for ctx.Err() == nil {
		l, err := c.look(ctx, Current, time.Now(), reason)
		if err != nil {
			return
		}
		if l.err != nil {
			failures++
		} else {
			failures = 0
		}
		timer := time.NewTimer(c.wait(l, failures))
		select {
		case <-ctx.Done():
		case <-timer.C:
			reason = ReasonSchedule
			if l.cred != nil && !l.cred.Expires.IsZero() {
				reason = ReasonExpiry
			}
		case <-c.changed:
			reason = ReasonChanged
		}
		timer.Stop()
	}
}

func (c *Cache) noteChange() {
	select {
	case c.changed <- struct{}{}:
	default: // one is waiting already
	}
}

// wait is how long to wait before the next refresh.
func (c *Cache) wait(l *lookup, failures int) time.Duration {
	if failures > 0 {
		return fullJitter(failures, min(maxBackoff, c.opt.Refresh))
	}
	d := time.Duration(float64(c.opt.Refresh) * (0.9 + 0.2*rand.Float64()))
	if !l.cred.Expires.IsZero() {
		d = min(d, max(time.Second, time.Until(l.cred.Expires)-expiryMargin))
	}
	return d
}

// fullJitter is the wait before try n (from 1): between nothing and
// min(limit, 1 s · 2ⁿ⁻¹), but at least 100 ms.
func fullJitter(n int, limit time.Duration) time.Duration {
	top := min(limit, time.Second<<min(n-1, 16))
	return 100*time.Millisecond + rand.N(max(top, 1))
}
