// Package recent remembers what happened at one database within the last minutes, for
// people who look at it now: Prometheus may not be there, or be asked.
//
// Invariant: what it holds does not grow, and to add to it allocates nothing.
//
// It counts what it is told; what that means, and how it is shown, is up to others.
package recent

import (
	"math/bits"
	"sync"
	"time"
)

// What is remembered: slots of one length each.
const (
	SlotTime = 10 * time.Second
	Slots    = 90
)

// Ring holds the slots of the last 15 minutes. It is for use by several goroutines.
type Ring struct {
	mu     sync.Mutex
	born   time.Time
	newest int64 // number of the slot written last, from born on
	slots  [Slots]slot
}

// slot is what happened within SlotTime.
type slot struct {
	logins, failures uint32
	sessions         int64     // the most that were seen
	sampled          bool      // sessions is known
	rotated          time.Time // the last rotation; zero: none
	times            histogram
}

// New returns an empty ring.
func New() *Ring { return &Ring{born: time.Now()} }

// Login counts a login, and how long it took.
func (r *Ring) Login(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.turn()
	s.logins++
	s.times.add(took)
}

// Failure counts a client that was not logged in, or whose session failed.
func (r *Ring) Failure() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn().failures++
}

// Sessions says how many there are now.
func (r *Ring) Sessions(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.turn()
	s.sessions, s.sampled = max(s.sessions, n), true
}

// Rotated marks that the credential has moved. Of two within one slot the later counts.
func (r *Ring) Rotated() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn().rotated = time.Now()
}

// turn returns the slot of now, and clears those that time has passed over. r.mu is held.
func (r *Ring) turn() *slot {
	now := int64(time.Since(r.born) / SlotTime)
	for n := max(r.newest, now-Slots) + 1; n <= now; n++ {
		r.slots[n%Slots] = slot{}
	}
	r.newest = max(r.newest, now)
	return &r.slots[r.newest%Slots]
}

// Window is what a ring holds at one moment: a sum of it all, which has names in JSON, and
// the slots.
type Window struct {
	Seconds       float64     `json:"seconds"` // how long it is
	Logins        int64       `json:"logins"`
	MostPerSecond float64     `json:"most_logins_per_second"`
	P50           float64     `json:"login_p50_seconds,omitempty"` // these to within an eighth
	P99           float64     `json:"login_p99_seconds,omitempty"`
	MostSessions  int64       `json:"most_sessions"`
	Failures      int64       `json:"failures"`
	Rotations     []time.Time `json:"rotations,omitempty"`

	Slots []Slot `json:"-"` // the oldest first; the last is not over
	// Marks are Rotations in slots and parts of one, from the beginning.
	Marks []float64 `json:"-"`
}

// Slot is what happened within SlotTime.
type Slot struct {
	Seen             bool // the ring was there
	Logins, Failures int64
	P50, P99         time.Duration // 0: no login
	Sessions         int64         // the most that were seen; -1: nobody looked
}

// Window returns what the ring holds. It has Slots slots: those before the ring was made
// are empty.
func (r *Ring) Window() *Window {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	first := r.newest - Slots + 1
	w := &Window{Seconds: min(time.Since(r.born), time.Duration(Slots)*SlotTime).Seconds(), Slots: make([]Slot, Slots)}
	var all histogram
	for i := range w.Slots {
		n := first + int64(i)
		w.Slots[i].Sessions = -1
		if n < 0 {
			continue
		}
		s, out := &r.slots[n%Slots], &w.Slots[i]
		out.Seen, out.Logins, out.Failures = true, int64(s.logins), int64(s.failures)
		out.P50, out.P99 = s.times.quantile(0.5), s.times.quantile(0.99)
		if s.sampled {
			out.Sessions = s.sessions
		}
		w.Logins += out.Logins
		w.Failures += out.Failures
		w.MostPerSecond = max(w.MostPerSecond, float64(out.Logins)/SlotTime.Seconds())
		w.MostSessions = max(w.MostSessions, out.Sessions)
		if !s.rotated.IsZero() {
			w.Rotations = append(w.Rotations, s.rotated.Round(0))
			w.Marks = append(w.Marks, float64(s.rotated.Sub(r.born))/float64(SlotTime)-float64(first))
		}
		for k, count := range s.times {
			all[k] += count
		}
	}
	w.P50, w.P99 = all.quantile(0.5).Seconds(), all.quantile(0.99).Seconds()
	return w
}

// shortest is where a [histogram] begins: what took less counts as that.
const shortest = 64 * time.Microsecond

// histogram counts times in steps of a quarter of each power of two, from [shortest] to
// two minutes.
type histogram [4 * 21]uint32

func (h *histogram) add(took time.Duration) {
	v := uint64(max(took, shortest) / (shortest / 4)) // at least 4
	octave := bits.Len64(v) - 3
	k := 4*octave + int(v>>octave&3)
	h[min(k, len(h)-1)]++
}

// quantile returns the middle of the step that has the quantile q, 0 if nothing was counted.
func (h *histogram) quantile(q float64) time.Duration {
	var total, seen uint64
	for _, n := range h {
		total += uint64(n)
	}
	for k, n := range h {
		if seen += uint64(n); n > 0 && float64(seen) >= q*float64(total) {
			width := (shortest / 4) << (k / 4)
			return width*time.Duration(4+k%4) + width/2
		}
	}
	return 0
}
