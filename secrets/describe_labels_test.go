package secrets

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// describing is a labelled source that can also be asked for its labels alone.
type describing struct {
	*labelled
	describes atomic.Int64
	denied    atomic.Bool
	empty     atomic.Value // string: a version that has no value yet
	rotation  Labels       // the dates
}

func (s *describing) Describe(context.Context) (Labels, error) {
	s.describes.Add(1)
	if s.denied.Load() {
		return Labels{}, Errorf(Denied, "not authorized to perform DescribeSecret")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return Labels{}, s.down
	}
	l := s.rotation
	l.Versions = map[Stage]string{}
	for stage, version := range s.labels {
		l.Versions[stage] = version
	}
	return l, nil
}

func (s *describing) FetchVersion(_ context.Context, id string) (*Credential, error) {
	s.calls.Add(1)
	if s.empty.Load() == id {
		return nil, Errorf(NoVersion, "no value for version %s", id)
	}
	c := NewCredential("app", id)
	c.VersionID = id
	return c, nil
}

// running runs the refreshes of c until the test ends.
func running(t *testing.T, c *Cache) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { c.Run(ctx) })
	t.Cleanup(func() { stop(); run.Wait(); c.Close() })
}

// TestAVersionIsReadOnce has refreshes ask for labels only, and read a version's
// value when a label names one that is not held.
func TestAVersionIsReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &describing{labelled: &labelled{labels: current("v1")}}, &database{password: "v1"}
		c := New(src, Options{})
		running(t, c)
		time.Sleep(24 * time.Hour)
		storm(t, c, 1, db.try)
		if src.calls.Load() != 1 || src.describes.Load() < 22 || src.describes.Load() > 28 {
			t.Errorf("a day of hourly refreshes: %d values read, %d descriptions", src.calls.Load(), src.describes.Load())
		}
		src.set(map[Stage]string{Current: "v2", Previous: "v1"})
		db.set("v2")
		time.Sleep(2 * time.Hour)
		storm(t, c, 1, db.try)
		if src.calls.Load() != 2 || db.refused != 0 {
			t.Errorf("after a rotation: %d values read, %d failed logins", src.calls.Load(), db.refused)
		}
	})
}

// TestStormCosts has 500 clients arrive in the window between setSecret and
// finishSecret.
func TestStormCosts(t *testing.T) {
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			src, db := &describing{labelled: &labelled{labels: current("v1")}}, &database{password: "v1"}
			c := New(src, Options{Grace: 90 * time.Second})
			defer c.Close()
			if known {
				storm(t, c, 1, db.slow)
				time.Sleep(2 * trustFor)
			}
			src.set(map[Stage]string{Current: "v1", Pending: "v2"})
			db.set("v2")
			before := src.calls.Load() + src.describes.Load()
			storm(t, c, 500, db.slow)
			if n := src.calls.Load() + src.describes.Load() - before; n > 4 || db.refused > 1 {
				t.Errorf("known %v: %d calls, %d failed logins", known, n, db.refused)
			}
		})
	}
}

// TestAVersionWithoutAValue is the moment between RDS's own createSecret and its
// first value: AWSPENDING names a version that nobody can read.
func TestAVersionWithoutAValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &describing{labelled: &labelled{labels: current("v1")}}, &database{password: "v1"}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		storm(t, c, 1, db.slow)
		time.Sleep(2 * trustFor)
		src.empty.Store("v2")
		src.set(map[Stage]string{Current: "v1", Pending: "v2"})
		db.set("v2")
		time.AfterFunc(10*time.Second, func() { src.empty.Store("") })
		storm(t, c, 50, db.slow)
		if db.refused > 3 {
			t.Errorf("%d failed logins", db.refused)
		}
	})
}

// TestDescribeDenied has a role that may read the secret only.
func TestDescribeDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &describing{labelled: &labelled{labels: current("v1")}}, &database{password: "v1"}
		src.denied.Store(true)
		var told atomic.Int64
		c := New(src, Options{Grace: time.Minute, Notify: func(e Event) {
			if e.Kind == DescribeDenied && ReasonOf(e.Err) == Denied {
				told.Add(1)
			}
		}})
		running(t, c)
		storm(t, c, 10, db.slow)
		src.set(map[Stage]string{Current: "v1", Pending: "v2"})
		db.set("v2")
		time.Sleep(time.Minute)
		storm(t, c, 10, db.slow)
		if src.describes.Load() != 1 || told.Load() != 1 {
			t.Errorf("%d descriptions asked for, told %d times", src.describes.Load(), told.Load())
		}
		src.denied.Store(false) // the policy is mended
		time.Sleep(3 * time.Hour)
		reads := src.calls.Load()
		time.Sleep(10 * time.Hour)
		if n := src.calls.Load() - reads; n != 0 {
			t.Errorf("%d values read after it was allowed", n)
		}
	})
}

// TestRefreshIsTightenedInTheWindow counts looks before, in and after the time in
// which AWS may rotate.
func TestRefreshIsTightenedInTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &describing{labelled: &labelled{labels: current("v1")}}
		next := time.Now().Add(12 * time.Hour)
		src.rotation = Labels{NextRotation: next, Window: 2 * time.Hour}
		c := New(src, Options{})
		running(t, c)
		count := func(d time.Duration) int64 {
			before := src.describes.Load()
			time.Sleep(d)
			return src.describes.Load() - before
		}
		if n := count(10 * time.Hour); n < 9 || n > 13 {
			t.Errorf("%d looks in the 10 h before the window", n)
		}
		if n := count(2 * time.Hour); n < 40 || n > 55 {
			t.Errorf("%d looks in the window of 2 h", n)
		}
		if s := c.Status(); !s.NextRotation.Equal(next) || s.NextRefresh.Before(time.Now()) {
			t.Errorf("status %+v", s)
		}
		if n := count(12 * time.Hour); n > 70 {
			t.Errorf("%d looks in 12 h after a rotation that did not come", n)
		}
	})
}
