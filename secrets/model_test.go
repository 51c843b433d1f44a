package secrets

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is what there is outside of the cache: a secret and a database, of which
// anything may change at any moment. It remembers all it ever was.
type world struct {
	mu       sync.Mutex
	now      state
	since    time.Time
	past     []period
	versions int
	values   map[string]bool // versions that have a value
}

// state is the world at one moment.
type state struct {
	labels  map[Stage]string
	accepts map[string]bool // versions whose login the database takes
	down    bool            // the source
}

type period struct {
	from, to time.Time
	state
}

// change makes the world another one.
func (w *world) change(how func(s *state)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := state{maps.Clone(w.now.labels), maps.Clone(w.now.accepts), w.now.down}
	how(&next)
	w.past = append(w.past, period{w.since, time.Now(), w.now})
	w.now, w.since = next, time.Now()
}

func (w *world) Kind() string { return "model" }

// answer takes as long as a call to AWS and then looks at the world.
func (w *world) answer(ctx context.Context, look func(s state) error) error {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
		return Errorf(Unavailable, "%w", ctx.Err())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now.down {
		return Errorf(Unavailable, "the source is down")
	}
	return look(w.now)
}

func (w *world) Fetch(ctx context.Context, stage Stage) (c *Credential, err error) {
	err = w.answer(ctx, func(s state) error {
		id := s.labels[stage]
		if id == "" || !w.values[id] {
			return Errorf(NoVersion, "no value under %s", stage)
		}
		c = versionCredential(id)
		return nil
	})
	return c, err
}

// describedWorld is a world that tells its labels apart.
type describedWorld struct{ *world }

func (w describedWorld) Describe(ctx context.Context) (l Labels, err error) {
	err = w.answer(ctx, func(s state) error { l.Versions = maps.Clone(s.labels); return nil })
	return l, err
}

func (w describedWorld) FetchVersion(ctx context.Context, id string) (c *Credential, err error) {
	err = w.answer(ctx, func(state) error {
		if !w.values[id] {
			return Errorf(NoVersion, "version %s has no value", id)
		}
		c = versionCredential(id)
		return nil
	})
	return c, err
}

func versionCredential(id string) *Credential {
	c := NewCredential("app", id)
	c.VersionID = id
	return c
}

// try is a login that takes a while and hears what the database thinks in the
// middle of it.
func (w *world) try(ctx context.Context, c *Credential) error {
	time.Sleep(time.Duration(5+rand.N(20)) * time.Millisecond)
	w.mu.Lock()
	ok := w.now.accepts[c.VersionID]
	w.mu.Unlock()
	time.Sleep(time.Duration(rand.N(20)) * time.Millisecond)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !ok:
		return MarkRejected(errPassword)
	}
	return nil
}

// rotate goes through the steps of one rotation, in the order that they have or
// in another, and may stop at any of them.
func (w *world) rotate(r *rand.Rand, alternating bool) {
	w.mu.Lock()
	w.versions++
	next := fmt.Sprint("v", w.versions)
	w.mu.Unlock()
	pause := func() { time.Sleep(time.Duration(r.IntN(12_000)) * time.Millisecond) }
	create := func() { w.change(func(s *state) { s.labels[Pending] = next }) }
	value := func() { w.mu.Lock(); w.values[next] = true; w.mu.Unlock() }
	set := func() {
		w.change(func(s *state) {
			if !alternating {
				clear(s.accepts)
			} else { // the other user has the new password, this one's stays
				s.accepts = map[string]bool{s.labels[Current]: s.accepts[s.labels[Current]]}
			}
			s.accepts[next] = true
		})
	}
	finish := func() {
		w.change(func(s *state) { s.labels[Previous], s.labels[Current] = s.labels[Current], next })
	}
	back := func() {
		w.change(func(s *state) { s.labels[Previous], s.labels[Current] = s.labels[Current], s.labels[Previous] })
	}
	steps := []func(){create, value, set, finish}
	switch r.IntN(8) {
	case 0: // promoted before the database knows
		steps = []func(){create, value, finish, set}
	case 1: // rolled back by hand
		steps = append(steps, back)
	case 2: // fails after setSecret, for good
		steps = steps[:3]
	case 3: // fails earlier
		steps = steps[:1+r.IntN(2)]
	}
	for _, step := range steps {
		if r.IntN(4) > 0 {
			pause()
		}
		step()
	}
}

// could reports whether a login from began to ended, which failed, could have got in
// by the policy: a version that carried a label all the time and that the database
// took all the time, and for long enough before that nobody can have been refused
// with it, while the source could be asked; or, whatever the source did, the one
// that the cache knew to work.
func (w *world) could(began, ended time.Time, known string, knownSince time.Time) (version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append(w.past, period{w.since, time.Now().Add(time.Hour), w.now})
	always := func(from time.Time, holds func(s state) bool) bool {
		for _, p := range all {
			if p.to.Before(from) || p.from.After(ended) {
				continue
			}
			if !holds(p.state) {
				return false
			}
		}
		return true
	}
	accepted := func(id string) func(state) bool {
		return func(s state) bool { return s.accepts[id] }
	}
	if known != "" && always(knownSince, accepted(known)) {
		return known + ", which it knew"
	}
	settled := began.Add(-(fetchTimeout + breakerOpen + lookAgain))
	if !always(settled, func(s state) bool { return !s.down }) {
		return ""
	}
	for id := range w.values {
		labelled := func(s state) bool {
			return s.labels[Current] == id || s.labels[Pending] == id || s.labels[Previous] == id
		}
		if always(began.Add(-rejectedFor-lookAgain), accepted(id)) && always(settled, labelled) {
			return id
		}
	}
	return ""
}

// TestAnyOrderOfEvents drives the login policy with random rotations, label moves,
// failures of the source and logins, and holds it against the model: no login
// fails that the policy could have let in.
func TestAnyOrderOfEvents(t *testing.T) {
	const runs = 60
	first := rand.Uint64() // so that each run of the tests sees other worlds
	failed, logins := 0, 0
	for i := range uint64(runs) {
		synctest.Test(t, func(t *testing.T) { runWorld(t, first+i, &logins, &failed) })
		if t.Failed() {
			break
		}
	}
	if logins < runs*100 {
		t.Errorf("only %d logins", logins)
	}
	t.Logf("%d logins, of which %d failed, as they had to", logins, failed)
}

func runWorld(t *testing.T, seed uint64, logins, failed *int) {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &world{
		now:   state{labels: map[Stage]string{Current: "v1"}, accepts: map[string]bool{"v1": true}},
		since: time.Now(), versions: 1, values: map[string]bool{"v1": true},
	}
	var src Source = w
	if r.IntN(2) == 0 {
		src = describedWorld{w}
	}
	alternating := r.IntN(2) == 0
	var mu sync.Mutex
	var told []string
	var known string
	var knownSince time.Time
	began := time.Now()
	c := New(src, Options{Grace: 20 * time.Second, Refresh: 2 * time.Minute, Notify: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf("%8v %-8s %-11s %v %v", time.Since(began).Round(time.Millisecond), e.Kind, e.Stage, e.Credential, e.Err))
		if e.Kind == Tried && e.Err == nil {
			known, knownSince = e.Credential.VersionID, time.Now()
		}
	}})
	running(t, c)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	var actors sync.WaitGroup
	actors.Go(func() {
		for r := rand.New(rand.NewPCG(seed, 2)); ctx.Err() == nil; {
			time.Sleep(time.Duration(r.IntN(60_000)) * time.Millisecond)
			w.rotate(r, alternating)
		}
	})
	if r.IntN(3) > 0 {
		actors.Go(func() {
			for r := rand.New(rand.NewPCG(seed, 3)); ctx.Err() == nil; {
				time.Sleep(time.Duration(r.IntN(120_000)) * time.Millisecond)
				w.change(func(s *state) { s.down = !s.down })
			}
		})
	}
	for n := range 3 {
		actors.Go(func() {
			for r := rand.New(rand.NewPCG(seed, uint64(10+n))); ctx.Err() == nil; {
				time.Sleep(time.Duration(r.IntN(4000)) * time.Millisecond)
				mu.Lock()
				knew, since := known, knownSince
				mu.Unlock()
				at := time.Now()
				err := c.Login(t.Context(), w.try)
				mu.Lock()
				*logins++
				if err == nil {
					mu.Unlock()
					continue
				}
				*failed++
				story := told[max(0, len(told)-25):]
				mu.Unlock()
				if v := w.could(at, time.Now(), knew, since); v != "" {
					t.Errorf("seed %d: a login at %v failed after %v, but could have used %s: %v\n%s", seed, at.Sub(began), time.Since(at), v, err, strings.Join(story, "\n"))
					stop()
				}
			}
		})
	}
	actors.Wait()
}
