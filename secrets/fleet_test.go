package secrets

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// AWS's quotas for a region, in calls per second, and price in dollars per call
// ("AWS Secrets Manager quotas", "Pricing"; as of 2026).
const (
	quotaGet      = 10_000
	quotaDescribe = 40_000
	dollarsACall  = 0.05 / 10_000
)

// fleet is one secret with its database, and all that the sidecars ask of AWS.
type fleet struct {
	mu        sync.Mutex
	labels    map[Stage]string
	accepts   string
	next      time.Time // the end of the window in which AWS rotates next
	describes perSecond
	gets      perSecond
	refused   int
	failed    int
	logins    int
	rotating  chan struct{} // closed, and replaced, when a rotation begins
	since     time.Time     // of the rotation under way, or the last
}

// begun returns what is closed when the next rotation begins, and whether one has
// begun lately.
func (f *fleet) begun() (next <-chan struct{}, busy bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rotating, !f.since.IsZero() && time.Since(f.since) < 5*time.Minute
}

// perSecond counts calls, and the most of them in one second.
type perSecond struct{ total, most, now, second int64 }

func (p *perSecond) count() {
	if s := time.Now().Unix(); s != p.second {
		p.second, p.now = s, 0
	}
	p.total++
	p.now++
	p.most = max(p.most, p.now)
}

const fleetWindow = 3 * time.Hour

func (f *fleet) Kind() string { return "secrets_manager" }

func (f *fleet) Fetch(context.Context, Stage) (*Credential, error) { panic("labels come first") }

func (f *fleet) Describe(context.Context) (Labels, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.describes.count()
	l := Labels{Versions: map[Stage]string{}, NextRotation: f.next, Window: fleetWindow}
	for stage, id := range f.labels {
		l.Versions[stage] = id
	}
	return l, nil
}

func (f *fleet) FetchVersion(_ context.Context, id string) (*Credential, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gets.count()
	return versionCredential(id), nil
}

func (f *fleet) try(_ context.Context, c *Credential) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.VersionID != f.accepts {
		f.refused++
		return MarkRejected(errPassword)
	}
	return nil
}

// rotate is a single-user rotation of a minute.
func (f *fleet) rotate(id string) {
	f.mu.Lock()
	f.labels[Pending], f.accepts = id, id
	f.since = time.Now()
	close(f.rotating)
	f.rotating = make(chan struct{})
	f.mu.Unlock()
	time.Sleep(time.Minute)
	f.mu.Lock()
	f.labels[Previous], f.labels[Current] = f.labels[Current], id
	f.next = f.next.Add(7 * 24 * time.Hour)
	f.mu.Unlock()
}

// sidecar refreshes, and logs clients in: one an hour, and one each 10 s while a
// rotation happens.
func (f *fleet) sidecar(t *testing.T, ctx context.Context) {
	time.Sleep(rand.N(time.Hour)) // they were not all started at once
	c := New(f, Options{Grace: 90 * time.Second})
	defer c.Close()
	var run sync.WaitGroup
	run.Go(func() { c.Run(ctx) })
	defer run.Wait()
	for ctx.Err() == nil {
		err := c.Login(t.Context(), f.try)
		f.mu.Lock()
		f.logins++
		if err != nil {
			f.failed++
		}
		f.mu.Unlock()
		next, busy := f.begun()
		pause := time.Hour
		if busy {
			pause = 10 * time.Second
		}
		select {
		case <-time.After(rand.N(2 * pause)):
		case <-next:
			time.Sleep(rand.N(10 * time.Second))
		case <-ctx.Done():
		}
	}
}

// TestFleet has many sidecars use one secret for 30 days with a rotation a week.
// CREDPROXY_FLEET says how many (10000 in "make soak"); few show the same for each.
func TestFleet(t *testing.T) {
	size, days := 50, 30
	if s := os.Getenv("CREDPROXY_FLEET"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		size = n
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{labels: map[Stage]string{Current: "v0"}, accepts: "v0", next: time.Now().Add(7 * 24 * time.Hour), rotating: make(chan struct{})}
		ctx, stop := context.WithTimeout(t.Context(), time.Duration(days)*24*time.Hour)
		defer stop()
		var all sync.WaitGroup
		for range size {
			all.Go(func() { f.sidecar(t, ctx) })
		}
		for week := 1; ctx.Err() == nil; week++ {
			f.mu.Lock()
			at := f.next.Add(-rand.N(fleetWindow))
			f.mu.Unlock()
			select {
			case <-time.After(time.Until(at)):
				f.rotate(fmt.Sprint("v", week))
			case <-ctx.Done():
			}
		}
		all.Wait()
		f.report(t, size, days)
	})
}

func (f *fleet) report(t *testing.T, size, days int) {
	calls := f.describes.total + f.gets.total
	minutely := int64(size) * int64(days) * 24 * 60
	share := float64(size) / 10_000
	t.Logf("%d sidecars, %d days: %d logins, %d failed, %d refused; %d calls (%d DescribeSecret, at most %d in a second; %d GetSecretValue, at most %d), $%.2f; polling each minute: %d calls, $%.2f",
		size, days, f.logins, f.failed, f.refused, calls, f.describes.total, f.describes.most, f.gets.total, f.gets.most,
		float64(calls)*dollarsACall, minutely, float64(minutely)*dollarsACall)
	switch {
	case f.failed > 0:
		t.Errorf("%d of %d logins failed", f.failed, f.logins)
	case calls*10 > minutely:
		t.Errorf("%d calls; polling each minute would make %d", calls, minutely)
	case f.gets.total > int64(size*6):
		t.Errorf("%d values read by %d sidecars for 5 versions", f.gets.total, size)
	case float64(f.describes.most) > quotaDescribe*max(share, 0.001) || float64(f.gets.most) > quotaGet*max(share, 0.001):
		t.Errorf("at most %d and %d calls in one second", f.describes.most, f.gets.most)
	}
}
