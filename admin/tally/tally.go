// Package tally counts what the status page shows of one database beside its metrics: [Tally].
//
// Invariant: what it is told it passes on to the metrics, unchanged, and what it keeps is
// bounded by the kinds of failures that there are.
//
// The package exports no metrics and draws nothing.
package tally

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

// Tally counts for the status page what the metrics count for Prometheus, and
// remembers what a metric cannot say: texts, and the last rotation. It passes on
// to the metrics all it hears.
type Tally struct {
	proxy.Observer

	mu       sync.Mutex
	logins   int64
	failed   int64
	rate     rate
	failures map[fault.Kind]admin.Failure // bounded by the kinds there are
	version  string                       // of the credential accepted last
	rotation *admin.Rotation              // replaced when it changes
}

// New returns a Tally that has counted nothing yet and passes on to what it hears.
func New(to proxy.Observer) *Tally {
	return &Tally{Observer: to, failures: map[fault.Kind]admin.Failure{}}
}

// SessionEnded implements proxy.Observer.
func (t *Tally) SessionEnded(kind fault.Kind, told string) {
	t.Observer.SessionEnded(kind, told)
	if kind == fault.OK {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed++
	t.failures[kind] = admin.Failure{Reason: string(kind), Count: t.failures[kind].Count + 1, Last: time.Now(), Error: told}
}

// LoginPhase implements proxy.Observer.
func (t *Tally) LoginPhase(phase string, d time.Duration) {
	t.Observer.LoginPhase(phase, d)
	if phase != "total" {
		return
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.logins++
	t.rate.add(now)
	// Did this login wait while the new version was found?
	if r := t.rotation; r != nil && now.Add(-d).Before(r.At) {
		waited := *r
		waited.WaitedLogins++
		waited.WaitedSeconds = max(r.WaitedSeconds, d.Seconds())
		t.rotation = &waited
	}
}

// Credential hears of what happens to the credential.
func (t *Tally) Credential(e secrets.Event) {
	if e.Kind != secrets.Tried || e.Err != nil || e.Stage == secrets.Emergency {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.version
	t.version = e.Credential.VersionID
	if before != "" && before != t.version && e.Credential.Expires.IsZero() { // tokens do not rotate
		t.rotation = &admin.Rotation{At: time.Now(), VersionID: t.version}
	}
}

// Fill writes what was counted into db.
func (t *Tally) Fill(db *admin.Database) {
	t.mu.Lock()
	defer t.mu.Unlock()
	db.Rotation = t.rotation
	db.Sessions.Total, db.Sessions.Failed = t.logins, t.failed
	db.Sessions.LoginsPerSecond = t.rate.perSecond(time.Now())
	for _, f := range t.failures {
		db.Failures = append(db.Failures, f)
	}
	slices.SortFunc(db.Failures, func(a, b admin.Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
}

// rate counts events of the last minute, second by second.
type rate struct {
	counts [60]int64
	second int64 // Unix time of the newest count
}

func (r *rate) add(now time.Time) {
	r.forget(now)
	r.counts[now.Unix()%int64(len(r.counts))]++
}

func (r *rate) perSecond(now time.Time) float64 {
	r.forget(now)
	var sum int64
	for _, n := range r.counts {
		sum += n
	}
	return float64(sum) / float64(len(r.counts))
}

// forget clears the seconds since the newest count, which hold events of a minute
// before.
func (r *rate) forget(now time.Time) {
	n := int64(len(r.counts))
	for s := max(r.second, now.Unix()-n) + 1; s <= now.Unix(); s++ {
		r.counts[s%n] = 0
	}
	r.second = max(r.second, now.Unix())
}
