package mysql

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
)

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
	o := new(proxytest.OneServer)
	options := proxytest.ServerOptions(topology.Writer)
	options.Token = func(context.Context, *secrets.Credential, topology.Place) (*secrets.Credential, error) {
		return secrets.NewCredential("server", password), nil // as a password, which may pass without TLS
	}
	servers := topology.New(options)
	r := newRig(t, func(e *Engine) {
		e.Servers, e.Credentials = servers, provedAnew{}
		o.Watch(t, servers, e.Upstream)
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
	o := new(proxytest.OneServer)
	o.Demoted.Store(true)
	servers := topology.New(proxytest.ServerOptions(topology.Writer))
	r := newRig(t, func(e *Engine) {
		e.Servers = servers
		o.Watch(t, servers, e.Upstream)
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
	options := proxytest.ServerOptions(topology.Writer)
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
