package upstream

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// closing counts what is open.
type closing struct {
	net.Conn
	open *atomic.Int32
}

func (c closing) Close() error { c.open.Add(-1); return nil }

// behaviour is what an address does, and after how long.
type behaviour struct {
	after time.Duration
	err   error
	deaf  bool // connects although the attempt was broken off
}

func (a behaviour) connect(ctx context.Context, open *atomic.Int32) (net.Conn, error) {
	timer := time.NewTimer(a.after)
	defer timer.Stop()
	done := ctx.Done()
	if a.deaf {
		done = nil
	}
	select {
	case <-timer.C:
	case <-done:
		return nil, ctx.Err()
	}
	if a.err != nil {
		return nil, a.err
	}
	open.Add(1)
	return closing{open: open}, nil
}

// TestRace has addresses that are silent, slow, dead and alive, and looks at who is
// tried when and what is left at the end.
func TestRace(t *testing.T) {
	const ms = time.Millisecond
	silent, dead := behaviour{after: time.Hour}, behaviour{after: ms, err: syscall.ECONNREFUSED}
	lives := behaviour{after: ms}
	for name, tt := range map[string]struct {
		addrs   string // in the order of the resolver
		answers map[string]behaviour
		within  time.Duration // for all; 0: 5 s
		tried   string        // address@when
		took    time.Duration
		fails   []error
	}{
		"alone":             {addrs: "10.0.0.1", answers: map[string]behaviour{"10.0.0.1": lives}, tried: "10.0.0.1@0s", took: ms},
		"the first answers": {addrs: "10.0.0.1 10.0.0.2", answers: map[string]behaviour{"10.0.0.1": lives}, tried: "10.0.0.1@0s", took: ms},
		"the first is silent": {addrs: "10.0.0.1 10.0.0.2", answers: map[string]behaviour{"10.0.0.1": silent, "10.0.0.2": lives},
			tried: "10.0.0.1@0s 10.0.0.2@250ms", took: 251 * ms},
		"two are silent": {addrs: "10.0.0.1 10.0.0.2 10.0.0.3", answers: map[string]behaviour{"10.0.0.1": silent, "10.0.0.2": silent, "10.0.0.3": lives},
			tried: "10.0.0.1@0s 10.0.0.2@250ms 10.0.0.3@500ms", took: 501 * ms},
		"the first is dead": {addrs: "10.0.0.1 10.0.0.2", answers: map[string]behaviour{"10.0.0.1": dead, "10.0.0.2": lives},
			tried: "10.0.0.1@0s 10.0.0.2@1ms", took: 2 * ms},
		"the first is slow and wins": {addrs: "10.0.0.1 10.0.0.2", answers: map[string]behaviour{"10.0.0.1": {after: 300 * ms}, "10.0.0.2": {after: 400 * ms}},
			tried: "10.0.0.1@0s 10.0.0.2@250ms", took: 300 * ms},
		"both answer": {addrs: "10.0.0.1 10.0.0.2", answers: map[string]behaviour{"10.0.0.1": {after: 300 * ms}, "10.0.0.2": {after: 60 * ms, deaf: true}},
			tried: "10.0.0.1@0s 10.0.0.2@250ms", took: 310 * ms},
		"the families alternate": {addrs: "fd00::1 fd00::2 fd00::3 10.0.0.1 10.0.0.2", answers: map[string]behaviour{"fd00::1": silent, "10.0.0.1": silent, "fd00::2": silent, "10.0.0.2": silent, "fd00::3": lives},
			tried: "fd00::1@0s 10.0.0.1@250ms fd00::2@500ms 10.0.0.2@750ms fd00::3@1s", took: 1001 * ms},
		"the first family is the resolver's": {addrs: "10.0.0.1 fd00::1", answers: map[string]behaviour{"10.0.0.1": dead, "fd00::1": lives},
			tried: "10.0.0.1@0s fd00::1@1ms", took: 2 * ms},
		"little time": {addrs: "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5", within: time.Second, answers: map[string]behaviour{"10.0.0.1": silent, "10.0.0.2": silent, "10.0.0.3": silent, "10.0.0.4": silent, "10.0.0.5": lives},
			tried: "10.0.0.1@0s 10.0.0.2@100ms 10.0.0.3@200ms 10.0.0.4@300ms 10.0.0.5@400ms", took: 401 * ms},
		"all fail": {addrs: "10.0.0.1 10.0.0.2", answers: map[string]behaviour{"10.0.0.1": silent, "10.0.0.2": dead},
			tried: "10.0.0.1@0s 10.0.0.2@250ms", took: 5 * time.Second, fails: []error{syscall.ECONNREFUSED, context.DeadlineExceeded}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var addrs []net.IPAddr
				for a := range strings.FieldsSeq(tt.addrs) {
					addrs = append(addrs, net.IPAddr{IP: net.ParseIP(a)})
				}
				within := tt.within
				if within == 0 {
					within = 5 * time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), within)
				defer cancel()
				var open, running atomic.Int32
				var mu sync.Mutex
				var tried []string
				start := time.Now()
				conn, err := race(ctx, addrs, func(ctx context.Context, a net.IPAddr) (net.Conn, error) {
					running.Add(1)
					defer running.Add(-1)
					mu.Lock()
					tried = append(tried, a.String()+"@"+time.Since(start).String())
					mu.Unlock()
					return tt.answers[a.String()].connect(ctx, &open)
				})
				if got := strings.Join(tried, " "); got != tt.tried || time.Since(start) != tt.took {
					t.Errorf("tried %q in %v, want %q in %v", got, time.Since(start), tt.tried, tt.took)
				}
				for _, want := range tt.fails {
					if !errors.Is(err, want) {
						t.Errorf("%v is not %v", err, want)
					}
				}
				if (err != nil) != (tt.fails != nil) || (conn == nil) != (tt.fails != nil) {
					t.Errorf("%v, %v", conn, err)
				}
				if conn != nil {
					_ = conn.Close()
				}
				if open.Load() != 0 || running.Load() != 0 {
					t.Errorf("%d connections and %d attempts are left", open.Load(), running.Load())
				}
			})
		})
	}
}

// TestRaceIsBounded has a name with a thousand addresses that all refuse.
func TestRaceIsBounded(t *testing.T) {
	addrs := slices.Repeat([]net.IPAddr{{IP: net.IPv4(10, 0, 0, 1)}}, 1000)
	tried := 0
	_, err := race(t.Context(), addrs, func(context.Context, net.IPAddr) (net.Conn, error) {
		tried++
		return nil, syscall.ECONNREFUSED
	})
	if tried != maxAddresses || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("tried %d: %v", tried, err)
	}
}

// TestRaceIsBrokenOff has a client that leaves while all addresses are silent.
func TestRaceIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, leave)
		start := time.Now()
		_, err := race(ctx, []net.IPAddr{{IP: net.IPv4(10, 0, 0, 1)}, {IP: net.IPv4(10, 0, 0, 2)}}, func(ctx context.Context, _ net.IPAddr) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if !errors.Is(err, context.Canceled) || time.Since(start) != 300*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
