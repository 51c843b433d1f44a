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

// mute is a database that takes connections and then says nothing.
func mute(ctx context.Context, _ *Credential) error {
	time.Sleep(time.Millisecond) // the round's time began earlier
	ctx, cancel := context.WithTimeout(ctx, DefaultLoginTimeout)
	defer cancel()
	<-ctx.Done()
	return fmt.Errorf("no answer: %w", context.Cause(ctx))
}

// TestAMuteDatabaseHoldsUpNobodyTwice has clients arrive while the database says
// nothing, and when it speaks again.
func TestAMuteDatabaseHoldsUpNobodyTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		storm(t, c, 1, db.slow)
		time.Sleep(time.Minute)
		began := time.Now()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := c.Login(t.Context(), mute); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("login: %v", err)
				}
			})
		}
		all.Wait()
		if d := time.Since(began); d > 2*DefaultLoginTimeout+time.Second {
			t.Errorf("20 logins took %v, one took %v", d, DefaultLoginTimeout)
		}
		storm(t, c, 20, db.slow)
		if d := time.Since(began); d > 2*DefaultLoginTimeout+2*time.Second || db.refused != 0 {
			t.Errorf("those that came after it: %v, %d failed logins", d, db.refused)
		}
	})
}

// TestTheWaitForAVerdictEnds has the login that all wait for never end.
func TestTheWaitForAVerdictEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(&labelled{labels: current("v1")}, Options{Grace: 90 * time.Second})
		defer c.Close()
		leave := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			_ = c.Login(t.Context(), func(context.Context, *Credential) error { <-leave; return nil })
		})
		synctest.Wait()
		began := time.Now()
		err := c.Login(t.Context(), mute)
		if d := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || d > 110*time.Second {
			t.Errorf("after %v: %v", d, err)
		}
		close(leave)
		all.Wait()
	})
}

// TestAPasswordChangedByHand has clients log in each second after the grace has
// passed: refused at once, and cheaply, until somebody puts it right.
func TestAPasswordChangedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &describing{labelled: &labelled{labels: map[Stage]string{Current: "v2", Previous: "v1"}}}
		db := &database{password: "v2"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		storm(t, c, 1, db.slow)
		db.set("set by hand")
		time.Sleep(2 * trustFor)
		if err := c.Login(t.Context(), db.slow); !IsRejected(err) { // spends the grace
			t.Fatalf("login: %v", err)
		}
		time.Sleep(2 * trustFor)
		refused, calls := db.refused, src.describes.Load()+src.calls.Load()
		end := time.Now().Add(5 * time.Minute)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for time.Now().Before(end) {
					began := time.Now()
					if err := c.Login(t.Context(), db.slow); !IsRejected(err) {
						t.Errorf("login: %v", err)
					}
					if d := time.Since(began); d >= minLookAgain/2 {
						t.Errorf("a login waited %v", d)
					}
					time.Sleep(time.Second)
				}
			})
		}
		all.Wait()
		if n := db.refused - refused; n > 2*11 {
			t.Errorf("%d failed logins in 5 min", n)
		}
		if n := src.describes.Load() + src.calls.Load() - calls; n > 5*60/5+5 {
			t.Errorf("%d calls in 5 min", n)
		}
		db.set("v2")
		time.Sleep(rejectedFor)
		storm(t, c, 1, db.slow)
	})
}

// TestNothingThatWorks has no version right, with and without one that is
// pending, and counts the failed logins after the grace.
func TestNothingThatWorks(t *testing.T) {
	for _, pending := range []string{"", "v3"} {
		synctest.Test(t, func(t *testing.T) {
			labels := map[Stage]string{Current: "v2", Previous: "v1"}
			versions := 2
			if pending != "" {
				labels[Pending] = pending
				versions++
			}
			src, db := &labelled{labels: labels}, &database{password: "set by hand"}
			c := New(src, Options{Grace: 90 * time.Second})
			defer c.Close()
			for range 2 { // the first may wait for the grace to pass
				_ = c.Login(t.Context(), db.slow)
			}
			time.Sleep(2 * time.Minute)
			refused := db.refused
			for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if err := c.Login(t.Context(), db.slow); !IsRejected(err) {
					t.Fatalf("login: %v", err)
				}
			}
			if n := db.refused - refused; n > versions*21 { // one each 30 s
				t.Errorf("pending %q: %d failed logins in 10 min", pending, n)
			}
		})
	}
}

// TestNoGraceForWhatNobodyWaitsFor has a login for nobody find a rotation that
// hangs.
func TestNoGraceForWhatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: map[Stage]string{Current: "v2", Pending: "v3", Previous: "v1"}}, &database{password: "set by hand"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		began := time.Now()
		err := c.Login(WithoutGrace(t.Context()), db.slow)
		if d := time.Since(began); !IsRejected(err) || d > time.Second || db.refused != 3 {
			t.Errorf("after %v and %d failed logins: %v", d, db.refused, err)
		}
		time.AfterFunc(10*time.Second, func() { db.set("v3") })
		storm(t, c, 10, db.slow) // clients still wait
	})
}

// TestEachRotationCostsOneFailedLogin has clients log in while the password
// changes, week after week.
func TestEachRotationCostsOneFailedLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v0")}, &database{password: "v0"}
		c := New(src, Options{Grace: 90 * time.Second})
		running(t, c)
		time.Sleep(time.Second)
		storm(t, c, 1, db.slow)
		for week := range 6 {
			was, is := fmt.Sprint("v", week), fmt.Sprint("v", week+1)
			time.Sleep(7 * 24 * time.Hour)
			storm(t, c, 1, db.slow)
			time.Sleep(time.Minute)
			before := db.refused
			src.set(map[Stage]string{Current: was, Pending: is})
			db.set(is)
			for range 5 {
				storm(t, c, 3, db.slow)
				time.Sleep(2 * trustFor)
			}
			src.set(map[Stage]string{Current: is, Previous: was})
			time.Sleep(2 * time.Hour)
			storm(t, c, 3, db.slow)
			if n := db.refused - before; n != 1 {
				t.Errorf("rotation %d: %d failed logins", week+1, n)
			}
		}
	})
}

// TestRotatedWhileAwayTooLong has the source come back with another version after
// the cached one has gone stale. The database takes both, as in the days after a
// rotation with alternating users, so that no refusal tells.
func TestRotatedWhileAwayTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &labelled{labels: current("v1")}
		var rotated atomic.Int64
		c := New(src, Options{Notify: func(e Event) {
			if e.Kind == Rotated {
				rotated.Add(1)
			}
		}})
		running(t, c)
		time.Sleep(time.Second)
		var offered string
		both := func(_ context.Context, cred *Credential) error { offered = cred.VersionID; return nil }
		storm(t, c, 1, both)
		away := func(err error) {
			src.mu.Lock()
			src.down = err
			src.mu.Unlock()
		}
		away(Errorf(Unavailable, "throttled"))
		time.Sleep(DefaultMaxStale + 2*DefaultRefresh)
		if err := c.Login(t.Context(), both); ReasonOf(err) != Unavailable {
			t.Errorf("login with a stale credential: %v", err)
		}
		src.set(map[Stage]string{Current: "v2", Previous: "v1"})
		away(nil)
		time.Sleep(10 * time.Minute)
		storm(t, c, 1, both)
		if s := c.Status(); offered != "v2" || s.Preferred.VersionID != "v2" || rotated.Load() != 1 || s.LastRotation.IsZero() {
			t.Errorf("offered %s, first %v, told of %d rotations, the last %v", offered, s.Preferred, rotated.Load(), s.LastRotation)
		}
	})
}

// TestTrustIsNotEarnedUnoffered has a login end before the database saw the
// credential, just when the password has changed.
func TestTrustIsNotEarnedUnoffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		storm(t, c, 1, db.slow)
		time.Sleep(2 * trustFor)
		src.set(map[Stage]string{Current: "v1", Pending: "v2"})
		db.set("v2")
		forbidden := errors.New("not this database")
		if err := c.Login(t.Context(), func(context.Context, *Credential) error { return MarkNotSent(forbidden) }); !errors.Is(err, forbidden) {
			t.Fatal(err)
		}
		storm(t, c, 50, db.slow)
		if db.refused != 1 {
			t.Errorf("%d failed logins", db.refused)
		}
	})
}

// TestAStandingRefusalOutlivesAnAttemptWithoutAVerdict has 500 clients wait with a password
// that the database has refused. The one that may try it again hears of something else.
func TestAStandingRefusalOutlivesAnAttemptWithoutAVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &database{password: "set by hand"}
		c := New(&labelled{labels: current("v1")}, Options{})
		defer c.Close()
		if err := c.Login(t.Context(), db.slow); !IsRejected(err) {
			t.Fatal(err)
		}
		time.Sleep(rejectedFor)
		tooMany := errors.New("too many connections")
		var first atomic.Bool
		var clients sync.WaitGroup
		for range 500 {
			clients.Go(func() {
				err := c.Login(t.Context(), func(ctx context.Context, cred *Credential) error {
					if first.CompareAndSwap(false, true) {
						time.Sleep(time.Second)
						return tooMany
					}
					return db.slow(ctx, cred)
				})
				if !IsRejected(err) && !errors.Is(err, tooMany) {
					t.Errorf("login: %v", err)
				}
			})
		}
		clients.Wait()
		if db.refused > 2 {
			t.Errorf("%d failed logins", db.refused)
		}
		db.set("v1")
		time.Sleep(rejectedFor)
		storm(t, c, 500, db.slow)
	})
}
