package secrets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// labelled is a source in memory with staging labels, and counts what it is asked.
type labelled struct {
	mu     sync.Mutex
	labels map[Stage]string // label → version, which is also the password
	down   error
	delay  time.Duration
	calls  atomic.Int64
}

func (s *labelled) Kind() string { return "test" }

func (s *labelled) Fetch(ctx context.Context, stage Stage) (*Credential, error) {
	s.mu.Lock()
	s.calls.Add(1)
	version, down, delay := s.labels[stage], s.down, s.delay
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, Errorf(Unavailable, "fetch: %w", ctx.Err())
	}
	if down != nil {
		return nil, down
	}
	if version == "" {
		return nil, Errorf(NoVersion, "nothing is labelled %s", stage)
	}
	c := NewCredential("app", version)
	c.VersionID = version
	return c, nil
}

func (s *labelled) set(labels map[Stage]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.labels = labels
}

// database accepts one password and counts what it refuses.
type database struct {
	mu       sync.Mutex
	password string
	refused  int
	offered  []string
}

var errPassword = errors.New("password authentication failed")

func (d *database) try(_ context.Context, c *Credential) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offered = append(d.offered, c.reveal())
	if c.reveal() != d.password {
		d.refused++
		return MarkRejected(errPassword)
	}
	return nil
}

func (d *database) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.offered
	d.offered = nil
	return o
}

func current(v string) map[Stage]string { return map[Stage]string{Current: v} }

func TestLoginOrder(t *testing.T) {
	tests := []struct {
		name     string
		before   string // accepted earlier; empty for a cold start
		labels   map[Stage]string
		database string
		offered  string // in order
		ok       bool
	}{
		{"cold start", "", current("v1"), "v1", "[v1]", true},
		{"nothing changed", "v1", current("v1"), "v1", "[v1]", true},
		{"promoted", "v1", map[Stage]string{Current: "v2", Previous: "v1"}, "v2", "[v1 v2]", true},
		{"window between setSecret and finishSecret", "v1", map[Stage]string{Current: "v1", Pending: "v2"}, "v2", "[v1 v2]", true},
		{"cold start in the window", "", map[Stage]string{Current: "v1", Pending: "v2"}, "v2", "[v1 v2]", true},
		{"promoted before the database knows", "", map[Stage]string{Current: "v2", Previous: "v1"}, "v1", "[v2 v1]", true},
		{"pending lingers on the current version", "", map[Stage]string{Current: "v2", Pending: "v2", Previous: "v1"}, "v1", "[v2 v1]", true},
		{"created but not set", "v1", map[Stage]string{Current: "v1", Pending: "v2"}, "v1", "[v1]", true},
		{"all wrong", "v1", map[Stage]string{Current: "v2", Pending: "v3", Previous: "v1"}, "other", "[v1 v2 v3 v1]", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src, db := &labelled{labels: current(tt.before)}, &database{password: tt.before}
			c := New(src, Options{})
			defer c.Close()
			if tt.before != "" {
				if err := c.Login(t.Context(), db.try); err != nil {
					t.Fatal(err)
				}
				db.take()
			}
			src.set(tt.labels)
			db.password = tt.database
			err := c.Login(t.Context(), db.try)
			if got := fmt.Sprint(db.take()); got != tt.offered {
				t.Errorf("offered %s, want %s", got, tt.offered)
			}
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, errPassword) {
				t.Errorf("login: %v", err)
			}
		})
	}
}

// Metrics tell by it how often AWSPENDING saved a login, not only who found it.
func TestLoginsTellTheLabel(t *testing.T) {
	src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
	var told []string
	c := New(src, Options{Notify: func(e Event) {
		if e.Kind == Tried {
			told = append(told, fmt.Sprint(e.Stage, " ", e.Credential.VersionID, " ", e.Err == nil))
		}
	}})
	defer c.Close()
	login := func() {
		t.Helper()
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Fatal(err)
		}
	}
	login()
	src.set(map[Stage]string{Current: "v1", Pending: "v2"})
	db.password = "v2"
	login()
	login()
	want := "[AWSCURRENT v1 true AWSCURRENT v1 false AWSPENDING v2 true AWSPENDING v2 true]"
	if got := fmt.Sprint(told); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

func TestRefusedVersionsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "other"}
		c := New(src, Options{})
		defer c.Close()
		for range 100 {
			if err := c.Login(t.Context(), db.try); !errors.Is(err, errPassword) || !IsRejected(err) {
				t.Fatalf("login: %v, want the database's refusal", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if db.refused != 1 {
			t.Errorf("100 logins in 10 s put %d failed logins on the database, want 1", db.refused)
		}
		if src.calls.Load() > 12 {
			t.Errorf("100 logins in 10 s asked the source %d times", src.calls.Load())
		}
		time.Sleep(rejectedFor)
		db.password = "v1" // an operator repairs the database
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Errorf("login after the memory ran out: %v", err)
		}
	})
}

func TestRefusalIsForgottenWhenSomethingMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Promoted before the database knows: v2 is refused, v1 works.
		src, db := &labelled{labels: map[Stage]string{Current: "v2", Previous: "v1"}}, &database{password: "v1"}
		c := New(src, Options{})
		defer c.Close()
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		db.password = "v2" // now it knows
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Errorf("login after the database moved: %v", err)
		}
		time.Sleep(time.Second)
		src.set(map[Stage]string{Current: "v3", Previous: "v2"})
		db.password = "v3"
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Errorf("login after the label moved: %v", err)
		}
	})
}

func TestOneFetchForAStormOfClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1"), delay: time.Second}, &database{password: "v1"}
		c := New(src, Options{})
		defer c.Close()
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if err := c.Login(t.Context(), db.try); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if src.calls.Load() != 1 {
			t.Errorf("500 logins asked the source %d times, want once", src.calls.Load())
		}
	})
}

func TestClientThatLeavesDoesNotCancelTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1"), delay: 2 * time.Second}, &database{password: "v1"}
		c := New(src, Options{})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.Login(ctx, db.try); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("login of the client that left: %v", err)
			}
		})
		wg.Go(func() {
			if err := c.Login(t.Context(), db.try); err != nil {
				t.Errorf("login of the client that stayed: %v", err)
			}
		})
		wg.Wait()
		if src.calls.Load() != 1 {
			t.Errorf("%d calls, want 1", src.calls.Load())
		}
	})
}

func TestOtherFailuresEndTheLogin(t *testing.T) {
	src := &labelled{labels: map[Stage]string{Current: "v1", Previous: "v0"}}
	c := New(src, Options{})
	defer c.Close()
	full, tries := errors.New("too many connections"), 0
	err := c.Login(t.Context(), func(context.Context, *Credential) error { tries++; return full })
	if !errors.Is(err, full) || tries != 1 {
		t.Errorf("%v after %d tries, want %v after 1", err, tries, full)
	}
}

func TestRunRefreshesAndServesTheCachedOneMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		var mu sync.Mutex
		rotated := 0
		c := New(src, Options{Refresh: time.Hour, MaxStale: 24 * time.Hour, Notify: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == Rotated {
				rotated++
			}
		}})
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { c.Run(ctx) })
		defer wg.Wait()
		defer cancel()

		time.Sleep(10*time.Hour + time.Minute)
		if src.calls.Load() < 9 || src.calls.Load() > 12 {
			t.Errorf("%d calls in 10 h of hourly refreshes", src.calls.Load())
		}
		src.set(map[Stage]string{Current: "v2", Previous: "v1"})
		db.password = "v2"
		time.Sleep(2 * time.Hour)
		if err := c.Login(t.Context(), db.try); err != nil || db.refused != 0 {
			t.Errorf("login after a refresh saw the rotation: %v, %d failed logins", err, db.refused)
		}
		if rotated != 1 {
			t.Errorf("%d rotations reported, want 1", rotated)
		}

		src.mu.Lock()
		src.down = Errorf(Unavailable, "throttled")
		src.mu.Unlock()
		before := src.calls.Load()
		for range 22 * 60 { // the last refresh may be more than an hour ago
			time.Sleep(time.Minute)
			if err := c.Login(t.Context(), db.try); err != nil {
				t.Fatalf("login while the source is away: %v", err)
			}
		}
		if n := src.calls.Load() - before; n > 22*60*60/7 { // on average half of maxBackoff lies between two
			t.Errorf("%d calls in 22 h of outage", n)
		}
		time.Sleep(3 * time.Hour)
		if err := c.Login(t.Context(), db.try); ReasonOf(err) != Unavailable || err == nil {
			t.Errorf("login past max_stale: %v", err)
		}
		src.mu.Lock()
		src.down = nil
		src.mu.Unlock()
		time.Sleep(maxBackoff + time.Second)
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Errorf("login after recovery: %v", err)
		}
	})
}

// minting gives a new credential at each call, which lives 14 minutes.
type minting struct{ calls atomic.Int64 }

func (m *minting) Kind() string { return "iam" }
func (m *minting) Fetch(_ context.Context, stage Stage) (*Credential, error) {
	if stage != Current {
		return nil, Errorf(NoVersion, "tokens have no labels")
	}
	n := m.calls.Add(1)
	c := NewCredential("app", fmt.Sprint("token", n))
	c.VersionID = fmt.Sprint(n)
	c.Expires = time.Now().Add(14 * time.Minute)
	return c, nil
}

func TestExpiringCredentialsAreReplacedInTimeAndNeverUsedPastTheirEnd(t *testing.T) {
	for _, background := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			src := &minting{}
			c := New(src, Options{})
			defer c.Close()
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			if background {
				wg.Go(func() { c.Run(ctx) })
			}
			for range 10_000 {
				err := c.Login(t.Context(), func(_ context.Context, cred *Credential) error {
					if cred.Expired(time.Now()) {
						t.Errorf("offered a token %v past its end", time.Since(cred.Expires))
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
			if src.calls.Load() < 11 || src.calls.Load() > 14 {
				t.Errorf("10,000 logins in 10,000 s minted %d tokens", src.calls.Load())
			}
		})
	}
}

func TestSourceErrorsReachTheCaller(t *testing.T) {
	for _, reason := range []Reason{NotFound, Denied, Malformed, Unavailable} {
		c := New(&labelled{down: Errorf(reason, "no")}, Options{})
		err := c.Login(t.Context(), (&database{}).try)
		if err == nil || ReasonOf(err) != reason {
			t.Errorf("%v, want reason %s", err, reason)
		}
		c.Close()
	}
}

func TestRefusalIsForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "other"}
		c := New(src, Options{})
		defer c.Close()
		_ = c.Login(t.Context(), db.try)
		if s := c.Status(); !s.Refused {
			t.Errorf("status %+v", s)
		}
		// A probe that keeps clients away until somebody logs in would never
		// recover.
		time.Sleep(rejectedFor)
		if s := c.Status(); s.Refused {
			t.Errorf("status %+v", s)
		}
	})
}

func TestVersionInMemoryServesWhileTheSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: map[Stage]string{Current: "v1", Pending: "v2"}}, &database{password: "v2"}
		c := New(src, Options{})
		defer c.Close()
		if err := c.Login(t.Context(), db.try); err != nil { // on AWSPENDING
			t.Fatal(err)
		}
		db.password = "v1" // rolled back by hand
		src.mu.Lock()
		src.down = Errorf(Unavailable, "throttled")
		src.mu.Unlock()
		time.Sleep(time.Minute)
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Errorf("login with a version in memory: %v", err)
		}
	})
}

func TestRefusedTokensDoNotMultiply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &minting{}, &database{password: "no token"}
		c := New(src, Options{})
		defer c.Close()
		for range 100 {
			if err := c.Login(t.Context(), db.try); !errors.Is(err, errPassword) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if db.refused > 2 {
			t.Errorf("100 logins in a second put %d failed logins on the database", db.refused)
		}
	})
}

func TestPendingIsTriedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: map[Stage]string{Current: "v1", Pending: "v2"}}, &database{password: "broken"}
		c := New(src, Options{})
		defer c.Close()
		_ = c.Login(t.Context(), db.try) // between createSecret and setSecret
		db.password = "v2"               // setSecret
		time.Sleep(rejectedPendingFor)
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Errorf("login after setSecret: %v", err)
		}
	})
}

func TestLoginWithoutAVerdictDoesNotUseUpTheRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "other"}
		c := New(src, Options{})
		defer c.Close()
		_ = c.Login(t.Context(), db.try)
		time.Sleep(rejectedFor)
		full := errors.New("too many connections")
		if err := c.Login(t.Context(), func(context.Context, *Credential) error { return full }); !errors.Is(err, full) {
			t.Fatal(err)
		}
		db.password = "v1"
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Errorf("login after one that reached no verdict: %v", err)
		}
	})
}
