package secrets

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hanging is a source that does not answer while it is down.
type hanging struct {
	labelled
	hangs atomic.Bool
}

func (s *hanging) Fetch(ctx context.Context, stage Stage) (*Credential, error) {
	if s.hangs.Load() {
		s.calls.Add(1)
		<-ctx.Done()
		return nil, Errorf(Unavailable, "no answer: %w", ctx.Err())
	}
	return s.labelled.Fetch(ctx, stage)
}

// TestASourceThatHangsIsLeftAlone has clients arrive at a cold start while AWS
// does not answer: few of them wait for it, and when it is back the next one gets
// in.
func TestASourceThatHangsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &hanging{labelled: labelled{labels: current("v1")}}, &database{password: "v1"}
		src.hangs.Store(true)
		c := New(src, Options{})
		running(t, c)
		time.Sleep(2 * time.Minute) // breakerFailures of fetchTimeout, and the waits between
		if !c.Status().SourceLeftAlone {
			t.Fatal("the source is not left alone")
		}
		slow, logins := 0, 0
		for range 600 {
			began := time.Now()
			err := c.Login(t.Context(), db.try)
			if err == nil || ReasonOf(err) != Unavailable {
				t.Fatalf("login: %v", err)
			}
			logins++
			if time.Since(began) > time.Second {
				slow++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if slow > logins/20 { // one in breakerOpen finds out
			t.Errorf("%d of %d logins waited for a source that hangs", slow, logins)
		}
		src.hangs.Store(false)
		time.Sleep(breakerOpen + fetchTimeout)
		if err := c.Login(t.Context(), db.try); err != nil {
			t.Errorf("login after recovery: %v", err)
		}
		if c.Status().SourceLeftAlone {
			t.Error("the source is still left alone")
		}
	})
}

// TestAnswersDoNotTripTheBreaker has the source say no, which is an answer.
func TestAnswersDoNotTripTheBreaker(t *testing.T) {
	for _, reason := range []Reason{NotFound, Denied, Malformed, NoVersion} {
		synctest.Test(t, func(t *testing.T) {
			src := &labelled{down: Errorf(reason, "no")}
			c := New(src, Options{})
			running(t, c)
			time.Sleep(time.Hour)
			if err := c.Login(t.Context(), (&database{}).try); ReasonOf(err) != reason {
				t.Errorf("login: %v", err)
			}
			if c.Status().SourceLeftAlone {
				t.Errorf("%s tripped the breaker", reason)
			}
			if n := src.calls.Load(); n < 60 || n > 240 {
				t.Errorf("%s: asked %d times in an hour", reason, n)
			}
		})
	}
}

// TestStaleIsTold has logins tell that they rest on what was learned earlier.
func TestStaleIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
		var stale, fresh atomic.Int64
		c := New(src, Options{Notify: func(e Event) {
			switch {
			case e.Kind != Tried:
			case e.Stale:
				stale.Add(1)
			default:
				fresh.Add(1)
			}
		}})
		running(t, c)
		storm(t, c, 1, db.try)
		src.mu.Lock()
		src.down = Errorf(Unavailable, "throttled")
		src.mu.Unlock()
		time.Sleep(2 * time.Hour)
		storm(t, c, 1, db.try)
		if fresh.Load() != 1 || stale.Load() != 1 {
			t.Errorf("%d fresh, %d stale", fresh.Load(), stale.Load())
		}
	})
}

// TestEventsNameThePeer has an event of a login say whose it was.
func TestEventsNameThePeer(t *testing.T) {
	src, db := &labelled{labels: current("v1")}, &database{password: "v2"}
	var peers []string
	c := New(src, Options{Notify: func(e Event) {
		if e.Kind == Tried {
			peers = append(peers, e.Peer)
		}
	}})
	defer c.Close()
	if err := c.Login(WithPeer(t.Context(), "127.0.0.1:4711"), db.try); !errors.Is(err, errPassword) {
		t.Fatal(err)
	}
	if len(peers) != 1 || peers[0] != "127.0.0.1:4711" {
		t.Errorf("peers %q", peers)
	}
}
