package secrets

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestLoginWhileTheDatabaseTurns has the database change its mind between two
// attempts of one login: what it refused first it takes now.
func TestLoginWhileTheDatabaseTurns(t *testing.T) {
	src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
	c := New(src, Options{})
	defer c.Close()
	if err := c.Login(t.Context(), db.try); err != nil {
		t.Fatal(err)
	}
	src.set(current("v2"))
	c.fetch(Current, time.Time{}, ReasonChanged) // and now v2 comes first
	db.take()
	err := c.Login(t.Context(), func(ctx context.Context, cred *Credential) error {
		if cred.reveal() == "v1" {
			db.password = "v2"
		}
		return db.try(ctx, cred)
	})
	if err != nil {
		t.Errorf("offered %v: %v", db.take(), err)
	}
}

// loseConnection has a login end without a verdict, so that the next ones do not
// wait for each other.
func loseConnection(t *testing.T, c *Cache) {
	t.Helper()
	lost := errors.New("no connection")
	if err := c.Login(t.Context(), func(context.Context, *Credential) error { return lost }); !errors.Is(err, lost) {
		t.Fatal(err)
	}
}

// TestLateRefusal has the database refuse a version to one login, then take it
// from another, whose verdict arrives first.
func TestLateRefusal(t *testing.T) {
	src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
	c := New(src, Options{Grace: time.Minute})
	defer c.Close()
	if err := c.Login(t.Context(), db.try); err != nil {
		t.Fatal(err)
	}
	src.set(current("v2"))
	c.fetch(Current, time.Time{}, ReasonChanged)
	loseConnection(t, c)
	late := func(ctx context.Context, cred *Credential) error {
		err := db.try(ctx, cred)
		if err != nil {
			db.password = "v2"
			if err := c.Login(ctx, db.try); err != nil {
				t.Errorf("the other login: %v", err)
			}
		}
		return err
	}
	if err := c.Login(t.Context(), late); err != nil {
		t.Errorf("offered %v: %v", db.take(), err)
	}
	if err := c.Login(t.Context(), db.try); err != nil || db.refused != 1 {
		t.Errorf("afterwards: %v, %d refused", err, db.refused)
	}
}

// TestAcceptanceFromBeforeADoubt has the database take a version, then refuse it to
// another login. Any that take it from then on end the doubt; one that began before
// and is told late does not.
func TestAcceptanceFromBeforeADoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &database{password: "v1"}
		c := New(&labelled{labels: current("v1")}, Options{})
		defer c.Close()
		began := time.Now()
		time.Sleep(time.Millisecond)
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Fatal(err)
		}
		v1 := c.trusted()
		time.Sleep(time.Millisecond)
		c.reject(v1, Current, began, errors.New("refused"))
		c.accept(v1, began)
		if c.trusted() != nil {
			t.Error("trusted after an acceptance from before the doubt")
		}
		c.accept(v1, time.Now())
		if c.trusted() != v1 {
			t.Error("doubted after an acceptance from after the doubt")
		}
	})
}

func (d *database) set(password string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.password = password
}

// slow makes each attempt take as long as a login over a network.
func (d *database) slow(ctx context.Context, c *Credential) error {
	time.Sleep(10 * time.Millisecond)
	return d.try(ctx, c)
}

// storm runs n logins at once.
func storm(t *testing.T, c *Cache, n int, try func(context.Context, *Credential) error) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := c.Login(t.Context(), try); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestStormInTheWindow has 500 clients arrive at once, after setSecret and before
// finishSecret, with a credential in memory that worked until then or with none.
func TestStormInTheWindow(t *testing.T) {
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			src, db := &labelled{labels: current("v1"), delay: 20 * time.Millisecond}, &database{password: "v1"}
			c := New(src, Options{Grace: 90 * time.Second})
			defer c.Close()
			if known {
				storm(t, c, 1, db.slow)
				time.Sleep(2 * trustFor)
			}
			src.set(map[Stage]string{Current: "v1", Pending: "v2"})
			db.password = "v2"
			calls := src.calls.Load()
			storm(t, c, 500, db.slow)
			if db.refused > 1 || src.calls.Load()-calls > 2 {
				t.Errorf("known %v: 500 logins: %d failed logins, %d calls", known, db.refused, src.calls.Load()-calls)
			}
		})
	}
}

// TestLoginsInFlight has clients come and go while the password changes: it is
// refused once to each that was just logging in and once to the one that makes
// sure, in whatever order the verdicts arrive.
func TestLoginsInFlight(t *testing.T) {
	const clients = 8
	for at := range 40 {
		synctest.Test(t, func(t *testing.T) {
			src, db := &labelled{labels: current("v1"), delay: 20 * time.Millisecond}, &database{password: "v1"}
			c := New(src, Options{Grace: 90 * time.Second})
			defer c.Close()
			ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer stop()
			var wg sync.WaitGroup
			for n := range clients {
				wg.Go(func() {
					for ctx.Err() == nil {
						err := c.Login(t.Context(), func(ctx context.Context, cred *Credential) error {
							time.Sleep(time.Duration(n) * time.Millisecond)
							err := db.slow(ctx, cred)
							if err == nil {
								time.Sleep(15 * time.Millisecond) // a session starts
							}
							return err
						})
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			time.Sleep(100*time.Millisecond + time.Duration(at)*time.Millisecond + 500*time.Microsecond)
			src.set(map[Stage]string{Current: "v1", Pending: "v2"})
			db.set("v2")
			wg.Wait()
			if db.refused > clients+1 {
				t.Errorf("changed %d ms later: %d failed logins", at, db.refused)
			}
		})
	}
}

// TestStormAfterAnEarlyPromotion has AWSCURRENT name a version that the database
// does not know yet, found by a refresh just after a login.
func TestStormAfterAnEarlyPromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		storm(t, c, 1, db.slow)
		src.set(map[Stage]string{Current: "v2", Previous: "v1"})
		c.fetch(Current, time.Time{}, ReasonSchedule)
		storm(t, c, 100, db.slow)
		if db.refused > 1 {
			t.Errorf("%d failed logins", db.refused)
		}
	})
}

// TestLoginWaitsForTheRotation has the database refuse every version until the
// rotation goes on.
func TestLoginWaitsForTheRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		storm(t, c, 1, db.slow)
		time.Sleep(2 * trustFor)
		db.password = "v2"
		time.AfterFunc(20*time.Second, func() { src.set(map[Stage]string{Current: "v2", Previous: "v1"}) })
		began := time.Now()
		storm(t, c, 100, db.slow)
		if waited := time.Since(began); waited > 20*time.Second+2*maxLookAgain {
			t.Errorf("logins waited %v for what took 20 s", waited)
		}
		if db.refused > 4 {
			t.Errorf("%d failed logins", db.refused)
		}
	})
}

// TestLoginDoesNotWaitForever has every version wrong for good.
func TestLoginDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		storm(t, c, 1, db.slow)
		db.password = "set by hand"
		wait := func() time.Duration {
			began := time.Now()
			if err := c.Login(t.Context(), db.slow); !errors.Is(err, errPassword) {
				t.Errorf("%v", err)
			}
			return time.Since(began)
		}
		if w := wait(); w < 85*time.Second || w > 95*time.Second {
			t.Errorf("the first login waited %v", w)
		}
		if w := wait(); w > time.Second {
			t.Errorf("a login after the grace waited %v", w)
		}
		if db.refused > 8 {
			t.Errorf("%d failed logins in 90 s", db.refused)
		}
		db.password = "v1" // repaired
		time.Sleep(rejectedFor)
		if err := c.Login(t.Context(), db.slow); err != nil {
			t.Error(err)
		}
	})
}

// TestClientThatLeavesStopsWaiting also hands the search over to the next.
func TestClientThatLeavesStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		storm(t, c, 1, db.slow)
		db.password = "v2"
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.Login(ctx, db.slow); !errors.Is(err, context.Canceled) {
				t.Errorf("the client that left: %v", err)
			}
		})
		time.Sleep(5 * time.Second)
		wg.Go(func() { storm(t, c, 1, db.slow) })
		leave()
		time.Sleep(5 * time.Second)
		src.set(current("v2"))
		wg.Wait()
	})
}

// TestLoginsWithoutAVerdictDoNotQueue has logins that reach no verdict.
func TestLoginsWithoutAVerdictDoNotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(&labelled{labels: current("v1")}, Options{})
		defer c.Close()
		away, began := errors.New("no route"), time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				err := c.Login(t.Context(), func(context.Context, *Credential) error {
					time.Sleep(5 * time.Second)
					return away
				})
				if !errors.Is(err, away) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(began); d > 11*time.Second {
			t.Errorf("100 dials of 5 s took %v", d)
		}
	})
}

// TestLoginFollowsTheEndpoint has the secret name another host after the
// database could not be reached at the first.
func TestLoginFollowsTheEndpoint(t *testing.T) {
	host := "old"
	src := sourceFunc(func() *Credential {
		c := NewCredential("app", "password")
		c.UseLocalVersion()
		c.Endpoint.Host = host
		return c
	})
	c := New(src, Options{})
	defer c.Close()
	dial := func(_ context.Context, cred *Credential) error {
		if cred.Endpoint.Host == "old" {
			return MarkWrongEndpoint(errPassword)
		}
		return nil
	}
	if err := c.Login(t.Context(), dial); err == nil {
		t.Fatal("reached the old host")
	}
	host = "new"
	c.mu.Lock()
	c.labels[Current].started = c.labels[Current].started.Add(-lookAgain)
	c.mu.Unlock()
	for range 2 {
		if err := c.Login(t.Context(), dial); err != nil {
			t.Error(err)
		}
	}
	if got := c.Status().Preferred.Endpoint.Host; got != "new" {
		t.Errorf("next login goes to %s", got)
	}
}

type sourceFunc func() *Credential

func (f sourceFunc) Kind() string { return "test" }

func (f sourceFunc) Fetch(_ context.Context, stage Stage) (*Credential, error) {
	if stage != Current {
		return nil, Errorf(NoVersion, "nothing is labelled %s", stage)
	}
	return f(), nil
}

// dialled is try of a login that asks, after up to a second, whether the credential was
// refused meanwhile.
func (db *database) dialled(ctx context.Context, cred *Credential) error {
	began := time.Now()
	time.Sleep(rand.N(time.Second))
	if err := cred.RejectedSince(began); err != nil {
		return err
	}
	return db.try(ctx, cred)
}

// TestLoginsUnderWayAreOvertaken has 100 logins trust the password, and dial, while it
// changes: one offers it in vain, and the others hear of that before they do.
func TestLoginsUnderWayAreOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		storm(t, c, 1, db.try)
		src.set(map[Stage]string{Current: "v1", Pending: "v2"})
		db.set("v2")
		storm(t, c, 100, db.dialled)
		if db.refused != 1 {
			t.Errorf("%d failed logins", db.refused)
		}
	})
}

// TestOvertakenInAnEmergency has the emergency credential refused while another login
// with it is under way, which goes on without.
func TestOvertakenInAnEmergency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		c := New(src, Options{})
		defer c.Close()
		c.BreakGlass(emergencyCredential("mistyped"), time.Hour)
		storm(t, c, 20, db.dialled)
		if db.refused != 1 {
			t.Errorf("%d failed logins", db.refused)
		}
	})
}

// TestProven has those who need a credential that needs no verdict get it, at the cost of
// one proof a second.
func TestProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		c := New(src, Options{})
		defer c.Close()
		proofs := 0
		proven := func() (*Credential, error) {
			return c.Proven(t.Context(), func(ctx context.Context, cred *Credential) error {
				proofs++
				return db.try(ctx, cred)
			})
		}
		for range 10 {
			if cred, err := proven(); err != nil || cred.VersionID != "v1" {
				t.Errorf("%v, %v", cred, err)
			}
		}
		if proofs != 1 {
			t.Errorf("%d proofs", proofs)
		}
		time.Sleep(2 * trustFor)
		if cred, err := c.Proven(t.Context(), func(context.Context, *Credential) error { return errors.New("no connection") }); err != nil || cred == nil {
			t.Errorf("where there is no verdict to be had: %v, %v", cred, err)
		}
		time.Sleep(2 * trustFor)
		db.set("v2")
		if cred, err := proven(); !IsRejected(err) || cred != nil {
			t.Errorf("refused: %v, %v", cred, err)
		}
		c.BreakGlass(emergencyCredential("v2"), time.Hour)
		for range 2 {
			if cred, err := proven(); err != nil || cred.Username != "emergency" {
				t.Errorf("in an emergency: %v, %v", cred, err)
			}
		}
		if db.refused != 1 || proofs != 3 {
			t.Errorf("%d failed logins, %d proofs", db.refused, proofs)
		}
	})
}
