package proxy

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
)

// TestDrain has a session go on while a server drains: who was accepted before may still
// ask for one, for a second, others may not, and the drain is over when the last has ended.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask, end := make(chan struct{}), make(chan struct{})
		verdicts := make(chan error, 1)
		s := &Server{Limits: Limits{MaxConnections: 10, LoginTimeout: time.Hour}, Log: zap.NewNop(), Observer: nopObserver{},
			Engine: engineFunc(func(_ context.Context, s *Session) error {
				<-ask
				err := s.Admit()
				verdicts <- err
				if err == nil {
					<-end
				}
				return err
			})}
		visit := func() {
			a, b := net.Pipe()
			t.Cleanup(func() { _ = a.Close() })
			s.start(t.Context(), b)
		}
		verdict := func() fault.Kind {
			ask <- struct{}{}
			if err := <-verdicts; err != nil {
				return fault.As(err).Kind
			}
			return fault.OK
		}
		wantOpen := func(drained <-chan struct{}) {
			t.Helper()
			synctest.Wait()
			select {
			case <-drained:
				t.Error("the drain is over with a session under way")
			default:
			}
		}
		visit()
		if got := verdict(); got != fault.OK {
			t.Fatal(got)
		}
		visit()
		visit()
		time.Sleep(time.Millisecond)
		drained := s.Drain()
		if got := verdict(); got != fault.OK {
			t.Errorf("a client who was accepted before: %s", got)
		}
		time.Sleep(lobbyGrace + time.Millisecond)
		if got := verdict(); got != fault.ShuttingDown {
			t.Errorf("one who asks too late: %s", got)
		}
		visit()
		if got := verdict(); got != fault.ShuttingDown {
			t.Errorf("one who comes later: %s", got)
		}
		wantOpen(drained)
		end <- struct{}{}
		wantOpen(drained)
		end <- struct{}{}
		<-drained
		s.Wait()
		<-new(Server).Drain() // nothing to wait for
	})
}
