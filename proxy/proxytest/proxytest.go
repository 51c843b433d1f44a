// Package proxytest runs a protocol engine between a test's client and a scripted
// database, for what real servers do not do: break off, lie, and never end.
//
// Invariant: a [Rig] checks at the test's end that the password is in no line of the log and
// that every goroutine of the server has ended. It is used by tests only.
package proxytest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// Password is what no test may find anywhere but in a login to the database.
const Password = "planted-secret-7d1"

// patience bounds every wait of a test.
const patience = 20 * time.Second

// OneCredential offers the same credential to every login, once.
type OneCredential struct{}

// Login calls try once.
func (OneCredential) Login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error {
	return try(ctx, Credential())
}

// Proven returns the credential.
func (OneCredential) Proven(context.Context, func(context.Context, *secrets.Credential) error) (*secrets.Credential, error) {
	return Credential(), nil
}

// Get returns the credential.
func (OneCredential) Get(context.Context) (*secrets.Credential, error) { return Credential(), nil }

// Status says nothing against the credential.
func (OneCredential) Status() secrets.Status { return secrets.Status{} }

// Credential is user app with Password.
func Credential() *secrets.Credential {
	c := secrets.NewCredential("app", Password)
	c.VersionID = "v1"
	return c
}

// Refuse makes cred one that the database has just refused in another login.
func Refuse(cred *secrets.Credential) {
	c := secrets.New(only{cred}, secrets.Options{})
	defer c.Close()
	_ = c.Login(context.Background(), func(context.Context, *secrets.Credential) error {
		return secrets.MarkRejected(errors.New("refused"))
	})
}

// only is the source of one credential.
type only struct{ cred *secrets.Credential }

func (only) Kind() string { return "test" }

func (o only) Fetch(context.Context, secrets.Stage) (*secrets.Credential, error) { return o.cred, nil }

// Counts is a proxy.Observer that remembers how sessions ended.
type Counts struct {
	mu      sync.Mutex
	ended   map[fault.Kind]int
	cancels map[string]int
}

// SessionEnded implements proxy.Observer.
func (c *Counts) SessionEnded(k fault.Kind, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.ended = map[fault.Kind]int{}
	}
	c.ended[k]++
}

// LoginPhase implements proxy.Observer.
func (c *Counts) LoginPhase(string, time.Duration) {}

// CancelRequest implements proxy.Observer.
func (c *Counts) CancelRequest(result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancels == nil {
		c.cancels = map[string]int{}
	}
	c.cancels[result]++
}

// Cancels is how many cancel requests had that result.
func (c *Counts) Cancels(result string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cancels[result]
}

// Of is how many sessions ended as k.
func (c *Counts) Of(k fault.Kind) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended[k]
}

// Rig is an engine at work in front of a scripted database.
type Rig struct {
	Addr   string // of the listener
	Counts Counts
	Server *proxy.Server
}

// Start starts the engine that build makes, which gets an upstream without TLS
// whose every connection is handed to script and closed after it.
func Start(t *testing.T, build func(*upstream.Dialer) proxy.Engine, script func(net.Conn)) *Rig {
	t.Helper()
	database := Listen(t)
	var scripts sync.WaitGroup
	scripts.Go(func() {
		for {
			c, err := database.Accept()
			if err != nil {
				return
			}
			scripts.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				script(c)
			})
		}
	})
	core, logs := observer.New(zapcore.DebugLevel)
	r := &Rig{}
	r.Server = &proxy.Server{
		Log: zap.New(core), Observer: &r.Counts,
		Limits: proxy.Limits{MaxConnections: 50, LoginTimeout: 3 * time.Second},
		Engine: build(&upstream.Dialer{Host: "127.0.0.1", Port: database.Addr().(*net.TCPAddr).Port,
			LookupTimeout: 5 * time.Second, DialTimeout: 5 * time.Second, Mode: config.Disable, TLS: &tls.Config{}}),
	}
	ln := Listen(t)
	r.Addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	r.Server.Serve(ctx, ctx, ln)
	t.Cleanup(func() {
		cancel()
		r.Server.Wait()
		_ = ln.Close()
		_ = database.Close()
		scripts.Wait()
		for _, e := range logs.All() {
			if line := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(line, Password) {
				t.Errorf("the password is in the log: %s", line)
			}
		}
	})
	return r
}

// Listen listens on a free port of loopback.
func Listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// Dial connects to the engine. The connection ends with the test.
func (r *Rig) Dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// Await waits until n sessions have ended as k.
func (r *Rig) Await(t *testing.T, k fault.Kind, n int) {
	t.Helper()
	nettest.Until(t, func() bool { return r.Counts.Of(k) >= n }, fmt.Sprintf("%d sessions ended as %s", n, k))
}
