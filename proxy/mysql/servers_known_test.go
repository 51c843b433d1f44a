package mysql

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
)

// oneServer is a topology.Engine, and the session of its only server, the scripted one.
type oneServer struct {
	*Engine
	demoted atomic.Bool
}

// Open implements topology.Engine.
func (o *oneServer) Open(context.Context, *secrets.Credential, string, topology.Route) (topology.Conn, error) {
	return o, nil
}

// Role implements topology.Conn.
func (o *oneServer) Role(context.Context) (topology.Role, string, error) {
	if o.demoted.Load() {
		return topology.Reader, "", nil
	}
	return topology.Writer, "", nil
}

// Ask implements topology.Conn.
func (o *oneServer) Ask(context.Context, topology.Place, ...topology.Place) (topology.Answer, error) {
	return topology.Answer{}, nil
}

// RemoteAddr implements topology.Conn.
func (o *oneServer) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(o.Upstream.Host), uint16(o.Upstream.Port)))
}

// Close implements topology.Conn.
func (o *oneServer) Close() error { return nil }

// watch has servers watched until the test ends.
func watch(t *testing.T, servers *topology.Servers, o *oneServer) {
	servers.SetEngine(o)
	cache := secrets.New(&moving{}, secrets.Options{LoginTimeout: time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		servers.Run(ctx, cache)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		cache.Close()
	})
}

func writerOnly() topology.Options {
	return topology.Options{Role: topology.Writer, Monitor: 100 * time.Millisecond, LoginTimeout: time.Second, Log: zap.NewNop(),
		Database: func(*secrets.Credential) string { return "" }, Changed: func(time.Duration) {}, Left: func() {}, Found: func() {},
		End: func(error, bool, func(net.Addr, time.Time) bool) {}}
}

// provedAnew is a token for the configured name, which needs a verdict each time.
type provedAnew struct{ proxytest.OneCredential }

// Proven has prove try the token.
func (p provedAnew) Proven(ctx context.Context, prove func(context.Context, *secrets.Credential) error) (*secrets.Credential, error) {
	c := tokenForName()
	return c, prove(ctx, c)
}

// Login calls try once.
func (p provedAnew) Login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error {
	return try(ctx, tokenForName())
}

// Get returns the token.
func (p provedAnew) Get(context.Context) (*secrets.Credential, error) { return tokenForName(), nil }

func tokenForName() *secrets.Credential {
	c := secrets.NewCredential("name", password)
	c.Expires = time.Now().Add(time.Hour)
	return c
}

// TestChangeUserWithTheTokenOfTheServer has a client change the user at a server that has a
// token of its own. That for the configured name is not offered there, nor to find
// out whether it is good.
func TestChangeUserWithTheTokenOfTheServer(t *testing.T) {
	t.Parallel()
	users := make(chan string, 10)
	o := new(oneServer)
	options := writerOnly()
	options.Token = func(context.Context, *secrets.Credential, topology.Place) (*secrets.Credential, error) {
		return secrets.NewCredential("server", password), nil // as a password, which may pass without TLS
	}
	servers := topology.New(options)
	r := newRig(t, func(e *Engine) {
		e.Servers, e.Credentials, o.Engine = servers, provedAnew{}, e
		watch(t, servers, o)
	}, func(p *scripted) {
		users <- p.greet(realGreeting()).User
		p.send(okPacket)
		for {
			p.Seq = 0
			asked := p.payload()
			if asked == "" || asked[0] == mysql.COM_QUIT {
				return
			}
			p.send(okPacket)
		}
	})
	nettest.Until(t, func() bool { return servers.Status().Server != topology.Place{} }, "the writer to be known")
	c := newPeer(t, r.Dial(t))
	c.logIn()
	if got := c.changeUser(); got != okPacket {
		t.Errorf("the client hears %q", got)
	}
	if len(users) != 2 {
		t.Errorf("%d connections, want one for the session and one for the verdict", len(users))
	}
	for range len(users) {
		if user := <-users; user != "server" {
			t.Errorf("the server was offered the token of %s", user)
		}
	}
}

// TestClientLeavesWhileThereIsNoWriter has a client leave that has not been greeted.
func TestClientLeavesWhileThereIsNoWriter(t *testing.T) {
	t.Parallel()
	o := new(oneServer)
	o.demoted.Store(true)
	servers := topology.New(writerOnly())
	r := newRig(t, func(e *Engine) {
		e.Servers, o.Engine = servers, e
		watch(t, servers, o)
	}, func(*scripted) {})
	nettest.Until(t, func() bool { return !servers.Status().Trouble.IsZero() }, "the lack of a writer to be known")
	_ = r.Dial(t).Close()
	nettest.Until(t, func() bool { return r.Counts.Of(fault.ClientGone)+r.Counts.Of(fault.Unreachable) > 0 }, "the session to end")
	if n := r.Counts.Of(fault.ClientGone); n != 1 {
		t.Error("the client's place was kept until there was no time left")
	}
}

// TestSilentReader has two servers, of which one takes connections and says nothing. Clients
// get the other.
func TestSilentReader(t *testing.T) {
	t.Parallel()
	silent := proxytest.Listen(t)
	defer silent.Close()
	options := writerOnly()
	options.Role = topology.Reader
	options.Hosts = []topology.Place{{Host: "127.0.0.1", Port: silent.Addr().(*net.TCPAddr).Port}}
	r := newRig(t, func(e *Engine) { e.Servers = topology.New(options) }, func(p *scripted) {
		p.greet(realGreeting())
		p.send(okPacket)
		p.Seq = 0
		if asked := p.payload(); strings.Contains(asked, "net_retry_count") {
			p.send(okPacket) // it is a reader
			p.payload()
		}
	})
	for range 4 {
		newPeer(t, r.Dial(t)).logIn()
	}
}
