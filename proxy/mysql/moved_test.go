package mysql

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/secrets"
)

// moving is a secret that names a port, and later another one.
type moving struct{ port, version atomic.Int64 }

func (s *moving) Kind() string { return "test" }

func (s *moving) Fetch(_ context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	if stage != secrets.Current {
		return nil, secrets.Errorf(secrets.NoVersion, "nothing is labelled %s", stage)
	}
	c := secrets.NewCredential("app", password)
	c.VersionID, c.Endpoint.Port = fmt.Sprint("v", s.version.Load()), int(s.port.Load())
	return c, nil
}

// gonePlace is a secret that leads to where nobody listens.
func gonePlace(t *testing.T) *moving {
	t.Helper()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	src := &moving{}
	src.port.Store(int64(gone.Addr().(*net.TCPAddr).Port))
	_ = gone.Close()
	return src
}

// TestSecretNamesAnotherPort has the cached secret lead to where nobody listens any
// more. The first client is logged in where it leads to by now; one who never answers
// the greeting keeps nobody from it.
func TestSecretNamesAnotherPort(t *testing.T) {
	t.Parallel()
	src := gonePlace(t)
	cache := secrets.New(src, secrets.Options{LoginTimeout: 3 * time.Second})
	defer cache.Close()
	var now int
	r := newRig(t, func(e *Engine) {
		now, e.Credentials, e.Upstream.Port = e.Upstream.Port, cache, 0
	}, trusting)
	if _, err := cache.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5100 * time.Millisecond) // what a label named is believed for 5 s
	src.port.Store(int64(now))
	silent := newPeer(t, r.Dial(t))
	if got := silent.payload(); got == "" {
		t.Error("no greeting for the silent client")
	}
	for range 2 {
		c := newPeer(t, r.Dial(t))
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, reply := c.login(passwordless("mysql_native_password"))
		if len(reply) > 0 && reply[0] == 0xfe {
			c.send("")
			reply = c.payload()
		}
		if reply == "" || reply[0] != 0 {
			t.Errorf("not logged in: %q", reply)
		}
		_ = c.Close()
	}
	_ = silent.Close()
}

// TestSlowRefusal has a server take 2 s to refuse, as connection_control makes it do:
// longer than clients who were greeted may take. One failed login is the user's.
func TestSlowRefusal(t *testing.T) {
	t.Parallel()
	cache := secrets.New(&moving{}, secrets.Options{LoginTimeout: 5 * time.Second})
	defer cache.Close()
	var asApp atomic.Int64
	r := newRig(t, func(e *Engine) { e.Credentials = cache }, refusing(&asApp, 2*time.Second))
	refuseAll(t, r)
	if n := asApp.Load(); n != 1 {
		t.Errorf("%d failed logins of the user, want 1", n)
	}
}

// TestRefusalAtAnotherPort has the secret lead to another place with a new version that
// is refused there. That the place was found says nothing of the version: one login
// finds out, as ever.
func TestRefusalAtAnotherPort(t *testing.T) {
	t.Parallel()
	src := gonePlace(t)
	cache := secrets.New(src, secrets.Options{LoginTimeout: 5 * time.Second})
	defer cache.Close()
	var now int
	var asApp atomic.Int64
	r := newRig(t, func(e *Engine) {
		now, e.Credentials, e.Upstream.Port = e.Upstream.Port, cache, 0
	}, refusing(&asApp, 300*time.Millisecond))
	if _, err := cache.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5100 * time.Millisecond) // what a label named is believed for 5 s
	src.port.Store(int64(now))
	src.version.Store(1)
	first := newPeer(t, r.Dial(t))
	if got := first.payload(); got == "" { // the place has been found
		t.Error("no greeting for the first client")
	}
	refuseAll(t, r)
	if n := asApp.Load(); n != 1 {
		t.Errorf("%d failed logins of the user, want 1", n)
	}
}

// refusing is a server that takes its time to refuse everybody, and counts how often
// that was the user.
func refusing(asApp *atomic.Int64, after time.Duration) func(*scripted) {
	return func(p *scripted) {
		if got := p.greet(realGreeting()); got.User == "app" {
			asApp.Add(1)
		}
		time.Sleep(after)
		p.send("\xff\x15\x04#28000Access denied")
	}
}

// refuseAll has 30 clients log in at once, each of which must hear the server's refusal.
func refuseAll(t *testing.T, r *proxytest.Rig) {
	var clients sync.WaitGroup
	for range 30 {
		clients.Go(func() {
			c := newPeer(t, r.Dial(t))
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			if _, err := wire.ParseGreeting([]byte(c.payload())); err != nil {
				t.Error(err)
				return
			}
			if err := c.WritePacket(passwordless("caching_sha2_password").Encode()); err != nil {
				t.Error(err)
			}
			if got := c.payload(); !strings.Contains(got, "Access denied") {
				t.Errorf("got %q, want the refusal", got)
			}
		})
	}
	clients.Wait()
}
