package rotation_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// clients come and go, over and over.
type clients struct {
	visits, failures atomic.Int64
	stop             context.CancelFunc
	all              sync.WaitGroup

	mu    sync.Mutex
	heard error // the first failure
}

// load starts n clients that call visit until they are ended.
func load(t *testing.T, n int, visit func(context.Context) error) *clients {
	t.Helper()
	running, stop := context.WithCancel(t.Context())
	c := &clients{stop: stop}
	for range n {
		c.all.Go(func() {
			for running.Err() == nil {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(running), 30*time.Second)
				err := visit(ctx)
				cancel()
				if c.visits.Add(1); err != nil {
					c.failures.Add(1)
					c.mu.Lock()
					if c.heard == nil {
						c.heard = err
					}
					c.mu.Unlock()
				}
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

func (c *clients) end() {
	c.stop()
	c.all.Wait()
}

// more waits until the clients have come and gone n more times.
func (c *clients) more(t *testing.T, n int64) {
	t.Helper()
	goal := c.visits.Load() + n
	deadline := time.Now().Add(time.Minute)
	for c.visits.Load() < goal {
		if time.Now().After(deadline) {
			t.Fatalf("no %d more visits in a minute", n)
		}
		time.Sleep(time.Millisecond)
	}
}

// none fails the test if a client was not let in.
func (c *clients) none(t *testing.T, who string) {
	t.Helper()
	if n := c.failures.Load(); n != 0 {
		t.Errorf("%d of %d connections of clients %s failed, the first with: %v", n, c.visits.Load(), who, c.heard)
	}
}

// sidecar starts a credproxy for the secret and returns its address.
func (s *stand) sidecar(t *testing.T) string {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.addr())
	p := sidecar.Run(t, sidecar.Options{Binary: binary, Env: s.aws.Env(), Config: fmt.Sprintf(`databases:
  - name: main
    listen: 127.0.0.1:0
    host: %s
    port: %s
    credentials: {secrets_manager: {secret_id: %s}}
    tls: {ca_file: %q}
`, host, port, s.secret, s.caFile)})
	return p.Addr(t, "main")
}

// indirect are 8 clients who come through credproxy.
func (s *stand) indirect(t *testing.T) *clients {
	t.Helper()
	addr := s.sidecar(t)
	return load(t, 8, func(ctx context.Context) error { return s.through(ctx, addr) })
}
