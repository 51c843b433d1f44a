package secrets

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTakeOver goes on with what another cache held while the source is away.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &database{password: "v1"}
		old := New(&labelled{labels: current("v1")}, Options{})
		defer old.Close()
		c := New(&failing{}, Options{MaxStale: 2 * time.Hour})
		defer c.Close()
		c.TakeOver(old, true) // which holds nothing yet
		if s := c.Status(); s.Preferred != nil {
			t.Errorf("taken over from nothing: %+v", s)
		}
		if err := old.Login(t.Context(), db.try); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		c.TakeOver(old, true)
		if s := c.Status(); !s.Accepted || s.Stale || time.Since(s.Since) != time.Hour {
			t.Errorf("status %+v", s)
		}
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Errorf("with the credential taken over: %v", err)
		}
		time.Sleep(time.Hour + time.Second) // its age counts on
		if err := c.Login(t.Context(), db.try); ReasonOf(err) != Unavailable {
			t.Errorf("with a credential past max_stale: %v", err)
		}
	})
}

// failing is a source that is away.
type failing struct{ labelled }

func (*failing) Fetch(context.Context, Stage) (*Credential, error) {
	return nil, Errorf(Unavailable, "away")
}

func (*failing) Labels(context.Context) (Labels, error) {
	return Labels{}, Errorf(Unavailable, "away")
}

// TestTakeOverEmergency moves an emergency: it ends once, where it has gone, and when
// it would have ended.
func TestTakeOverEmergency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		told := map[string]int{}
		tell := func(who string) func(Event) {
			return func(e Event) {
				mu.Lock()
				defer mu.Unlock()
				told[who+" "+string(e.Kind)]++
			}
		}
		old := New(&labelled{labels: current("v1")}, Options{Notify: tell("old")})
		c := New(&labelled{labels: current("v1")}, Options{Notify: tell("new")})
		if c.TakeOverEmergency(old) {
			t.Error("there was none")
		}
		old.BreakGlass(emergencyCredential("x"), time.Hour)
		time.Sleep(time.Minute)
		if !c.TakeOverEmergency(old) || old.EndBreakGlass() {
			t.Error("it has not moved")
		}
		if s := c.Status(); s.Emergency == nil || time.Until(s.EmergencyUntil) != 59*time.Minute || s.EmergencyRefused {
			t.Errorf("status %+v", s)
		}
		refuse := func(context.Context, *Credential) error { return MarkRejected(errPassword) }
		if err := c.Login(t.Context(), refuse); !errors.Is(err, errPassword) {
			t.Error(err)
		}
		if s := c.Status(); !s.EmergencyRefused {
			t.Errorf("refused: %+v", s)
		}
		old.Close()
		time.Sleep(time.Hour)
		c.Close()
		mu.Lock()
		defer mu.Unlock()
		if told["old emergency_began"] != 1 || told["old emergency_ended"] != 0 || told["new emergency_began"] != 0 || told["new emergency_ended"] != 1 {
			t.Errorf("told %v", told)
		}
	})
}

// TestTakeOverToAnotherDatabase keeps the credential, and nothing that the first
// database has said of it.
func TestTakeOverToAnotherDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &labelled{labels: map[Stage]string{Current: "v2", Previous: "v1"}}
		old := New(src, Options{})
		defer old.Close()
		behind := &database{password: "v1"} // it does not know v2 yet
		if err := old.Login(t.Context(), behind.try); err != nil {
			t.Fatal(err)
		}
		c := New(&failing{}, Options{})
		defer c.Close()
		c.TakeOver(old, false)
		if s := c.Status(); s.Accepted || s.Refused || s.Preferred == nil || s.Preferred.VersionID != "v2" {
			t.Errorf("status %+v", s)
		}
		ahead := &database{password: "v2"}
		if err := c.Login(t.Context(), ahead.try); err != nil || ahead.refused != 0 {
			t.Errorf("%v, after %d failed logins", err, ahead.refused)
		}
	})
}
