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

// emergencyCredential is what an operator put into the file.
func emergencyCredential(password string) *Credential {
	c := NewCredential("emergency", password)
	c.UseLocalVersion()
	return c
}

func TestBreakGlass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "by hand"}
		var mu sync.Mutex
		var told []string
		c := New(src, Options{Notify: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == EmergencyBegan || e.Kind == EmergencyEnded || e.Stage == Emergency {
				told = append(told, fmt.Sprint(e.Kind, " ", e.Credential.Username))
			}
		}})
		defer c.Close()
		login := func() error { return c.Login(t.Context(), db.try) }
		if err := login(); !errors.Is(err, errPassword) {
			t.Fatal(err)
		}
		c.BreakGlass(emergencyCredential("by hand"), time.Hour)
		for range 3 {
			if err := login(); err != nil {
				t.Errorf("in the emergency: %v", err)
			}
		}
		if s := c.Status(); s.Emergency == nil || time.Until(s.EmergencyUntil) != time.Hour {
			t.Errorf("status %+v", s)
		}
		if cred, err := c.Get(t.Context()); err != nil || cred.Username != "emergency" {
			t.Errorf("first offered is %v, %v", cred, err)
		}
		time.Sleep(time.Hour + time.Second) // it ends by itself
		if err := login(); !errors.Is(err, errPassword) {
			t.Errorf("after the emergency: %v", err)
		}
		if s := c.Status(); s.Emergency != nil {
			t.Errorf("status %+v", s)
		}
		if c.EndBreakGlass() {
			t.Error("ended twice")
		}
		want := "[emergency_began emergency tried emergency tried emergency tried emergency emergency_ended emergency]"
		if fmt.Sprint(told) != want {
			t.Errorf("told %v", told)
		}
	})
}

func TestBreakGlassEndsOnTheOperatorsWord(t *testing.T) {
	src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
	c := New(src, Options{})
	defer c.Close()
	c.BreakGlass(emergencyCredential("old"), time.Hour)
	c.BreakGlass(emergencyCredential("new"), time.Hour) // another file
	if !c.EndBreakGlass() {
		t.Error("there was no emergency")
	}
	if err := c.Login(t.Context(), db.try); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(db.take()); got != "[v1]" {
		t.Errorf("offered %s", got)
	}
}

// TestBreakGlassRefused has the database refuse the emergency credential while it
// accepts the secret's: logins go on, and do not lock the emergency account.
func TestBreakGlassRefused(t *testing.T) {
	src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
	c := New(src, Options{})
	defer c.Close()
	c.BreakGlass(emergencyCredential("mistyped"), time.Hour)
	for range 20 {
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Error(err)
		}
	}
	if db.refused != 1 {
		t.Errorf("%d failed logins", db.refused)
	}
}

// TestBreakGlassAtAColdStart needs nothing from the source.
func TestBreakGlassAtAColdStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{down: Errorf(Unavailable, "no route")}, &database{password: "by hand"}
		c := New(src, Options{})
		running(t, c)
		c.BreakGlass(emergencyCredential("by hand"), time.Hour)
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Error(err)
		}
	})
}

// TestBreakGlassEndsTheWait has logins wait for a rotation that hangs.
func TestBreakGlassEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &labelled{labels: map[Stage]string{Current: "v1", Pending: "v2"}}
		db := &database{password: "by hand"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		began := time.Now()
		time.AfterFunc(10*time.Second, func() { c.BreakGlass(emergencyCredential("by hand"), time.Hour) })
		storm(t, c, 20, db.slow)
		if d := time.Since(began); d < 10*time.Second || d > 11*time.Second {
			t.Errorf("logins took %v", d)
		}
	})
}

// TestBreakGlassIsProvedByOne has 500 clients wait when an emergency begins, with a
// password that is wrong, right, or cannot be tried for a while.
func TestBreakGlassIsProvedByOne(t *testing.T) {
	for _, password := range []string{"mistyped", "by hand"} {
		synctest.Test(t, func(t *testing.T) {
			src, db := &labelled{labels: current("v1")}, &database{password: "by hand"}
			c := New(src, Options{})
			defer c.Close()
			c.BreakGlass(emergencyCredential(password), time.Hour)
			var atOnce, most, offered atomic.Int64
			var proved atomic.Bool
			var clients sync.WaitGroup
			for range 500 {
				clients.Go(func() {
					_ = c.Login(t.Context(), func(ctx context.Context, cred *Credential) error {
						if cred.Username != "emergency" {
							return db.slow(ctx, cred)
						}
						offered.Add(1)
						if n := atOnce.Add(1); !proved.Load() {
							most.Store(max(most.Load(), n))
						}
						defer atOnce.Add(-1)
						err := db.slow(ctx, cred)
						proved.Store(proved.Load() || err == nil)
						return err
					})
				})
			}
			clients.Wait()
			want := map[string]int64{"mistyped": 1, "by hand": 500}[password]
			if most.Load() != 1 || offered.Load() != want {
				t.Errorf("%s: offered %d times, %d at once before it was accepted", password, offered.Load(), most.Load())
			}
		})
	}
}

// TestBreakGlassAtADatabaseThatSaysNothing holds up nobody twice.
func TestBreakGlassAtADatabaseThatSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(&labelled{labels: current("v1")}, Options{})
		defer c.Close()
		c.BreakGlass(emergencyCredential("by hand"), time.Hour)
		began := time.Now()
		var clients sync.WaitGroup
		for range 20 {
			clients.Go(func() {
				if err := c.Login(t.Context(), mute); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("login: %v", err)
				}
			})
		}
		clients.Wait()
		if d := time.Since(began); d > 2*DefaultLoginTimeout+time.Second {
			t.Errorf("20 logins took %v, one takes %v", d, DefaultLoginTimeout)
		}
	})
}

// TestBreakGlassAnew has the operator give another credential while logins wait for what
// the database says of the first: they offer that, and not the secret's.
func TestBreakGlassAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(&labelled{labels: current("v1")}, Options{})
		defer c.Close()
		silent, second := emergencyCredential("silent"), emergencyCredential("second")
		c.BreakGlass(silent, time.Hour)
		left := make(chan struct{})
		try := func(_ context.Context, cred *Credential) error {
			switch cred.VersionID {
			case silent.VersionID:
				<-left
				return errors.New("no answer")
			case second.VersionID:
				return nil
			}
			t.Errorf("%v was offered", cred)
			return MarkRejected(errPassword)
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		defer close(left)
		wg.Go(func() { _ = c.Login(t.Context(), try) })
		synctest.Wait()
		for range 20 {
			wg.Go(func() {
				if err := c.Login(t.Context(), try); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		c.BreakGlass(second, time.Hour)
		synctest.Wait()
	})
}
