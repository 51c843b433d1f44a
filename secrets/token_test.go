package secrets

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// busy is a database that is short of CPU: it refuses each nth login, whatever the token.
type busy struct {
	mu       sync.Mutex
	nth      int // 0: none; 1: all
	attempts int
	refused  int
}

func (d *busy) try(context.Context, *Credential) error {
	time.Sleep(50 * time.Millisecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.attempts++
	if d.nth > 0 && d.attempts%d.nth == 0 {
		d.refused++
		return MarkRejected(errPassword)
	}
	return nil
}

func (d *busy) set(nth int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nth, d.attempts, d.refused = nth, 0, 0
}

// TestTransientRefusalsOfTokens has 500 clients log in, at once and then each second for a
// minute, at a database that refuses a tenth of all attempts, right after a login or after
// a rest.
func TestTransientRefusalsOfTokens(t *testing.T) {
	for _, idle := range []time.Duration{0, time.Minute, time.Hour} {
		t.Run(idle.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, db := New(&minting{}, Options{}), &busy{}
				running(t, c)
				storm(t, c, 1, db.try)
				time.Sleep(idle)
				db.set(10)
				db.attempts = 9 // the first is refused
				const clients, rounds = 500, 60
				var failed atomic.Int64
				var all sync.WaitGroup
				for range clients {
					all.Go(func() {
						for range rounds {
							if c.Login(t.Context(), db.try) != nil {
								failed.Add(1)
							}
							time.Sleep(time.Second)
						}
					})
				}
				all.Wait()
				t.Logf("%d of %d logins failed; %d of %d attempts were refused", failed.Load(), clients*rounds, db.refused, db.attempts)
				if n := failed.Load(); n > clients*rounds*12/100 {
					t.Errorf("%d of %d logins failed", n, clients*rounds)
				}
			})
		})
	}
}

// TestTwoRefusalsOfATokenInARow cost the login that met them, and no other.
func TestTwoRefusalsOfATokenInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, db := New(&minting{}, Options{}), &busy{}
		running(t, c)
		storm(t, c, 1, db.try)
		time.Sleep(10 * time.Second)
		db.set(1)
		if err := c.Login(t.Context(), db.try); !IsRejected(err) {
			t.Fatalf("refused twice: %v", err)
		}
		db.set(0)
		storm(t, c, 500, db.try)
	})
}

// TestARevokedToken has the database refuse all tokens from some moment on: it hears of few
// of the logins, and of a new token when it takes them again.
func TestARevokedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, db := New(&minting{}, Options{}), &busy{}
		running(t, c)
		storm(t, c, 1, db.try)
		db.set(1)
		end := time.Now().Add(time.Minute)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for time.Now().Before(end) {
					if err := c.Login(t.Context(), db.try); !IsRejected(err) {
						t.Errorf("login: %v", err)
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		all.Wait()
		if db.refused > 50+doubtTokens+2*int(time.Minute/lookAgain) {
			t.Errorf("%d failed logins in a minute", db.refused)
		}
		db.set(0)
		time.Sleep(lookAgain)
		storm(t, c, 50, db.try)
	})
}
