package secrets

import (
	"context"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/singleflight"
)

// What Options leaves zero.
const (
	DefaultRefresh      = time.Hour
	DefaultMaxStale     = 24 * time.Hour
	DefaultLoginTimeout = 15 * time.Second
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
	breaker *gobreaker.CircuitBreaker[struct{}]

	describing chan struct{} // holds a token while one description is under way

	// base outlives the logins that start a fetch: a client that leaves must
	// not cancel the fetch that others wait for. Close ends it.
	base   context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu               sync.Mutex
	closed           bool
	labels           map[Stage]*lookup
	endpoint         Endpoint      // AWSCURRENT's; empty until it was known
	described        *description  // nil until a Labelled source was asked
	lastFailure      error         // of a source that could not be asked
	emergency        *emergency    // nil but in an emergency
	nextEmergency    chan struct{} // closed when an emergency does
	preferred        *Credential   // what the next login offers first
	accepted         *Credential   // what the database took last, and has not refused since
	acceptedAt       time.Time
	staleRejectionAt time.Time // when it was refused by one that began before acceptedAt; zero if it was not
	refused          map[string]refusal
	lastGood         time.Time // when the source last gave AWSCURRENT
	nextRefresh      time.Time // when Run looks next

	trustUntil           time.Time // logins may offer first without waiting for a verdict
	rejectedSince        time.Time // since when the database refuses; zero if it does not
	acceptedThenRejected bool      // it refuses what it had accepted
	tokensRefused        int       // in a row, since one was accepted
	rotated              time.Time // when AWSCURRENT was last seen to have moved
	lookedForUser        time.Time // when a refused user last was a reason to look

	searchToken chan struct{} // holds a token while one login finds out what works
}

// refusal is the database's answer to one version.
type refusal struct {
	at    time.Time
	until time.Time // when it may be offered again
	err   error
	again bool // one login does so now, alone
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
		changed:       make(chan struct{}, 1),
		breaker:       newBreaker(),
		searchToken:   make(chan struct{}, 1),
		describing:    make(chan struct{}, 1),
		nextEmergency: make(chan struct{}),
		labels:        map[Stage]*lookup{},
		refused:       map[string]refusal{},
	}
}

// Close ends fetches under way and an emergency, and waits for them. Logins that
// need a fetch after it fail.
func (c *Cache) Close() {
	c.EndBreakGlass()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

// Get returns the credential that the next login would offer first, fetching it
// if none is held.
func (c *Cache) Get(ctx context.Context) (*Credential, error) {
	if cred := c.emergencyCredential(c.inEmergency()); cred != nil && !c.refusedLately(cred) {
		return cred, nil
	}
	if cred := c.preferredCached(); cred != nil {
		return cred, nil
	}
	l, err := c.look(ctx, Current, time.Time{}, c.whyFetch())
	if err != nil {
		return nil, err
	}
	return l.cred, l.err
}

// preferredCached returns the credential to offer first if one is held that has
// neither expired nor gone stale.
func (c *Cache) preferredCached() *Credential {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.preferred == nil || c.stale(c.preferred) {
		return nil
	}
	return c.preferred
}

// stale reports whether a held credential may not be used any more. c.mu is held.
func (c *Cache) stale(cred *Credential) bool {
	now := time.Now()
	return cred.Expired(now) || now.Sub(c.lastGood) > c.opt.MaxStale
}

func (c *Cache) whyFetch() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.preferred == nil:
		return ReasonStart
	case c.preferred.Expired(time.Now()):
		return ReasonExpiry
	}
	return ReasonSchedule
}
