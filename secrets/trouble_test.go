package secrets

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
