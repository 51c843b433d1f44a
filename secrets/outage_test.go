package secrets_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/credproxy/credproxy/secrets"
)

// store is a secret whose source can fail, and a database that takes one version.
type store struct {
	mu       sync.Mutex
	current  string // the version under AWSCURRENT
	accepts  map[string]bool
	fails    func(ctx context.Context) error // nil: the source works
	calls    int
	failures int            // told by events
	reasons  map[string]int // of successful fetches, told by events
	refused  int            // logins, by the database
}

func newStore() *store {
	return &store{current: "v1", accepts: map[string]bool{"v1": true, "v2": true}, reasons: map[string]int{}}
}

func (s *store) Kind() string { return "test" }

func (s *store) Fetch(ctx context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	s.mu.Lock()
	s.calls++
	fails, version := s.fails, s.current
	s.mu.Unlock()
	if fails != nil {
		return nil, fails(ctx)
	}
	if stage != secrets.Current {
		return nil, secrets.Errorf(secrets.NoVersion, "nothing is labelled %s", stage)
	}
	c := secrets.NewCredential("app", version)
	c.VersionID = version
	return c, nil
}

// set changes the store under its lock.
func (s *store) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *store) get(count *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *count
}

func (s *store) notify(e secrets.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.Kind != secrets.Fetched:
	case e.Err != nil:
		s.failures++
	default:
		s.reasons[e.Reason]++
	}
}

// run starts a cache on the store, with its refreshing, until the test's end.
func (s *store) run(t *testing.T) *secrets.Cache {
	c := secrets.New(s, secrets.Options{Notify: s.notify})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done; c.Close() })
	return c
}

// login is a client's login; it returns the version that the database took.
func (s *store) login(c *secrets.Cache) (version string, err error) {
	err = c.Login(context.Background(), func(_ context.Context, cred *secrets.Credential) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.accepts[cred.VersionID] {
			s.refused++
			return secrets.MarkRejected(errors.New("password authentication failed"))
		}
		version = cred.VersionID
		return nil
	})
	return version, err
}

// outages are the ways in which AWS is away, as its sources report them.
var outages = []struct {
	name  string
	fails func(ctx context.Context) error
	// noticed is how soon after the end of it a refresh succeeds.
	noticed time.Duration
	// admitted is how soon a client gets in that tries every second.
	admitted time.Duration
	// looks is how many calls one login may make that the database has refused:
	// two rounds of three labels if something may have moved meanwhile.
	looks int
}{
	{"throttled", away("ThrottlingException: Rate exceeded"), 31 * time.Second, 6 * time.Second, 1},
	{"error 500", away("InternalServiceError"), 31 * time.Second, 6 * time.Second, 1},
	{"dropped", away("%w", io.EOF), 31 * time.Second, 6 * time.Second, 1},
	{"refused", away("%w", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}), 31 * time.Second, 6 * time.Second, 1},
	{"no name", away("%w", &net.DNSError{Err: "no such host", Name: "secretsmanager"}), 31 * time.Second, 6 * time.Second, 1},
	{"role credentials expired", away("the AWS credentials have expired"), 31 * time.Second, 6 * time.Second, 1},
	{"hanging", func(ctx context.Context) error {
		<-ctx.Done()
		return secrets.Errorf(secrets.Unavailable, "no answer in time: %w", ctx.Err())
	}, 41 * time.Second, 16 * time.Second, 1},
	// An operator has to act, who can wait a minute. Clients need not.
	{"access denied", func(context.Context) error { return secrets.Errorf(secrets.Denied, "AccessDeniedException") }, 61 * time.Second, 7 * time.Second, 3},
}

func away(format string, args ...any) func(context.Context) error {
	return func(context.Context) error { return secrets.Errorf(secrets.Unavailable, format, args...) }
}

// maxTries is how often a source may be asked in an hour in which it fails, and
// how many events of that there may be, and with them lines in the log.
const maxTries = 600

// TestAnHourAway has clients log in twice a second while the source fails for
// an hour, and the secret rotates meanwhile. No login fails; the tries and what is
// told of them are bounded; that it is back, and the rotation, are noticed soon.
func TestAnHourAway(t *testing.T) {
	for _, tt := range outages {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore()
				c := s.run(t)
				if _, err := s.login(c); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // until the first look of the schedule is done, too
				before := s.get(&s.calls)
				s.set(func() { s.fails, s.current = tt.fails, "v2" })
				// Past the schedule's next look, which is when the failure shows.
				for end := time.Now().Add(2 * time.Hour); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
					if v, err := s.login(c); err != nil || v != "v1" {
						t.Fatalf("login: %s, %v", v, err)
					}
				}
				calls, told := s.get(&s.calls)-before, s.get(&s.failures)
				if calls < 30 || calls > maxTries || told < 30 || told > maxTries {
					t.Errorf("%d tries, %d events of a failure; want 30 to %d", calls, told, maxTries)
				}
				if c.Status().Stale {
					t.Error("the credential is called stale long before MaxStale")
				}
				back := time.Now()
				s.set(func() { s.fails = nil })
				for c.Status().Since.Before(back) {
					time.Sleep(100 * time.Millisecond)
					if time.Since(back) > tt.noticed {
						t.Fatalf("%v after the source is back it was not asked", tt.noticed)
					}
				}
				if v, err := s.login(c); err != nil || v != "v2" {
					t.Errorf("login after recovery: %s, %v, want v2", v, err)
				}
				if n := s.get(&s.refused); n != 0 {
					t.Errorf("the database refused %d logins", n)
				}
			})
		})
	}
}

// TestColdStartAway starts while the source fails, for an hour. Clients are told
// so, few calls are made, and soon after the source is back credproxy is ready,
// whether or not a client comes.
func TestColdStartAway(t *testing.T) {
	for _, tt := range outages {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore()
				s.fails = tt.fails
				c := s.run(t)
				for end := time.Now().Add(time.Hour); time.Now().Before(end); time.Sleep(5 * time.Second) {
					if _, err := s.login(c); err == nil || secrets.IsRejected(err) {
						t.Fatalf("login without a credential: %v", err)
					}
					if st := c.Status(); st.Preferred != nil {
						t.Fatalf("ready with %v", st.Preferred)
					}
				}
				// The clients add a call each at most.
				if n := s.get(&s.calls); n > maxTries+3600/5 {
					t.Errorf("%d calls in an hour", n)
				}
				back := time.Now()
				s.set(func() { s.fails = nil })
				for {
					_, err := s.login(c)
					if err == nil {
						break
					}
					if time.Since(back) > tt.admitted {
						t.Fatalf("%v after the source is back: %v", time.Since(back), err)
					}
					time.Sleep(time.Second)
				}
			})
			synctest.Test(t, func(t *testing.T) { // and no client comes
				s := newStore()
				s.fails = tt.fails
				c := s.run(t)
				time.Sleep(time.Hour)
				if n := s.get(&s.calls); n > maxTries {
					t.Errorf("%d calls in an hour", n)
				}
				s.set(func() { s.fails = nil })
				time.Sleep(tt.noticed)
				if c.Status().Preferred == nil {
					t.Errorf("not ready %v after the source is back", tt.noticed)
				}
			})
		})
	}
}

// TestRotatedWhileAway has the database refuse the held credential while the
// source fails. Nothing can be done then but to say so without hammering the
// database; when the source is back, the next client gets in.
func TestRotatedWhileAway(t *testing.T) {
	for _, tt := range outages {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore()
				c := s.run(t)
				if _, err := s.login(c); err != nil {
					t.Fatal(err)
				}
				s.set(func() { s.fails, s.current = tt.fails, "v2"; delete(s.accepts, "v1") })
				logins := 0
				for end := time.Now().Add(20 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
					if _, err := s.login(c); err == nil {
						t.Fatal("logged in with a credential that the database refuses")
					}
					logins++
				}
				if n := s.get(&s.refused); n > 50 { // one each 30 s
					t.Errorf("%d failed logins at the database in 20 minutes", n)
				}
				if n, limit := s.get(&s.calls), maxTries/3+logins*tt.looks; n > limit {
					t.Errorf("%d calls for %d logins in 20 minutes, want at most %d", n, logins, limit)
				}
				back := time.Now()
				s.set(func() { s.fails = nil })
				for {
					v, err := s.login(c)
					if err == nil && v == "v2" {
						break
					}
					if time.Since(back) > tt.admitted {
						t.Fatalf("%v after the source is back: %v", time.Since(back), err)
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// TestSteadyState counts what 100,000 logins in a day ask the source for: nothing
// beyond the schedule.
func TestSteadyState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		c := s.run(t)
		for range 1000 {
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					if _, err := s.login(c); err != nil {
						t.Errorf("login: %v", err)
					}
				})
			}
			all.Wait()
			time.Sleep(24 * time.Hour / 1000)
		}
		time.Sleep(time.Second) // a refresh may be under way
		s.mu.Lock()
		defer s.mu.Unlock()
		scheduled := s.reasons[secrets.ReasonSchedule]
		if s.reasons[secrets.ReasonStart] != 1 || scheduled < 22 || scheduled > 27 || s.calls != 1+scheduled {
			t.Errorf("%d calls: %v; want one at the start and one an hour", s.calls, s.reasons)
		}
		t.Logf("100,000 logins in 24 h: %d calls, %v", s.calls, s.reasons)
	})
}
