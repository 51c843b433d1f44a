package metrics

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/credproxy/credproxy/metrics/recent"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/pool"
	"github.com/credproxy/credproxy/secrets"
)

// sessions is a server with so many.
type sessions struct{ n int64 }

func (s *sessions) Active() int64           { return s.n }
func (s *sessions) Relayed() (int64, int64) { return 0, 0 }

func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		d, server := m.Database("orders"), &sessions{n: 3}
		d.Observe(server, func() secrets.Status { return secrets.Status{} }, func() bool { return true })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go m.Sample(ctx)
		d.LoginPhase("auth", time.Second)
		d.LoginPhase("total", time.Second)
		d.SessionEnded(fault.OK, "")
		d.SessionEnded(fault.Unreachable, "")
		token := secrets.NewCredential("app", "planted-secret")
		token.Expires = time.Now().Add(time.Hour)
		d.Credential("iam", secrets.Event{Kind: secrets.Rotated, Credential: token})
		time.Sleep(2 * recent.SlotTime)
		synctest.Wait()
		server.n = 1
		if w := d.Recent(); w.Logins != 1 || w.Failures != 1 || w.MostSessions != 3 || len(w.Rotations) != 0 {
			t.Errorf("%+v", w)
		}
		d.Credential("file", secrets.Event{Kind: secrets.Rotated})
		w := d.Recent()
		if len(w.Rotations) != 1 {
			t.Errorf("%v", w.Rotations)
		}
		for i, s := range w.Slots {
			if known := s.Sessions >= 0; known != (i >= recent.Slots-3) {
				t.Errorf("slot %d: %d sessions", i, s.Sessions)
			}
		}
	})
}

func TestPoolState(t *testing.T) {
	d := New().Database("orders")
	for range 2 { // of before and after a reload
		p := pool.New(pool.Options{MaxLifetime: time.Hour})
		defer p.Close()
		if _, err := p.Acquire(t.Context(), "key", nil); err != nil {
			t.Fatal(err)
		}
		d.ObservePool(p)
	}
	d.Pool(pool.Event{Kind: pool.Opened})
	d.Pool(pool.Event{Kind: pool.Reused})
	d.Pool(pool.Event{Kind: pool.Closed, Reason: pool.Aged})
	s := d.PoolState()
	if s.InUse != 2 || s.Idle != 0 || s.Opened != 1 || s.Reused != 1 || len(s.Closed) != 1 || s.Closed["aged"] != 1 {
		t.Errorf("%+v", s)
	}
}
