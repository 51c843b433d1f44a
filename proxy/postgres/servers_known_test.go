package postgres

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/proxy/pool"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/topology"
)

// TestKeptSessionWaitsForTheWriter has a server demoted at which a session is kept. A client
// does not get it, but waits, and hears that there is no writer.
func TestKeptSessionWaitsForTheWriter(t *testing.T) {
	t.Parallel()
	o, servers := new(proxytest.OneServer), topology.New(proxytest.ServerOptions(topology.Writer))
	kept := pool.New(pool.Options{MaxIdle: 1, MaxOpen: 1, WaitTimeout: 10 * time.Second, IdleTimeout: time.Hour, MaxLifetime: time.Hour})
	defer kept.Close()
	r := newRig(t, func(e *Engine) {
		e.Servers, e.Pool = servers, kept
		o.Watch(t, servers, e.Upstream)
	}, func(p *scripted) {
		p.packet()
		p.send(authOK + frame('S', "in_hot_standby\x00off\x00") + frame('K', "\x00\x00\x00\x07abcd") + readyIdle)
		for {
			kind, body := p.message()
			if kind != 'Q' {
				return
			}
			tag := strings.TrimSuffix(string(body), "\x00")
			if tag != "DISCARD ALL" {
				tag, _, _ = strings.Cut(tag, " ")
			}
			p.send(frame('C', tag+"\x00") + readyIdle)
		}
	})
	nettest.Until(t, func() bool { return servers.Status().Server != topology.Place{} }, "the writer to be known")
	logIn := func() *scripted {
		c := newPeer(t, r.Dial(t))
		c.startup()
		return c
	}
	for range 2 { // the second one gets the first one's session
		c := logIn()
		for kind := byte(0); kind != 'Z'; {
			if kind, _ = c.message(); kind == 'E' || kind == 0 {
				t.Fatalf("not logged in: message %q", kind)
			}
		}
		c.send(frame('X', ""))
		_ = c.Close()
		nettest.Until(t, func() bool { return kept.Stats().Idle == 1 }, "the session to be kept")
	}
	o.Demoted.Store(true)
	nettest.Until(t, func() bool { return !servers.Status().Trouble.IsZero() }, "the lack of a writer to be known")
	if e := logIn().fatal(); !strings.Contains(e.Message, "no writer") {
		t.Errorf("the client hears %q", e.Message)
	}
}

// TestSilentReader has two servers, of which one takes connections and says nothing. Clients
// get the other.
func TestSilentReader(t *testing.T) {
	t.Parallel()
	silent := proxytest.Listen(t)
	defer silent.Close()
	o := proxytest.ServerOptions(topology.Reader)
	o.Hosts = []topology.Place{{Host: "127.0.0.1", Port: silent.Addr().(*net.TCPAddr).Port}}
	r := newRig(t, func(e *Engine) { e.Servers = topology.New(o) }, func(p *scripted) {
		p.packet()
		p.send(authOK + frame('S', "in_hot_standby\x00on\x00") + frame('K', "\x00\x00\x00\x07abcd") + readyIdle)
		_, _ = io.Copy(io.Discard, p.r)
	})
	for range 4 {
		c := newPeer(t, r.Dial(t))
		c.startup()
		if kind, _ := c.message(); kind != 'R' {
			t.Errorf("not logged in: message %q", kind)
		}
		_ = c.Close()
	}
}

// TestPhysicalReplicationOfAnOldServer has a server of PostgreSQL 13 asked for its role in a
// session that takes no SELECT.
func TestPhysicalReplicationOfAnOldServer(t *testing.T) {
	for _, tt := range []struct{ readOnly, byDefault, want string }{
		{"off", "off", ""},
		{"on", "off", "is a reader"},
		{"on", "on", "default_transaction_read_only"},
	} {
		t.Run(tt.readOnly+" "+tt.byDefault, func(t *testing.T) {
			t.Parallel()
			o := new(proxytest.OneServer)
			servers := topology.New(proxytest.ServerOptions(topology.Writer))
			r := newRig(t, func(e *Engine) {
				e.Servers = servers
				o.Watch(t, servers, e.Upstream)
			}, func(p *scripted) {
				p.packet()
				p.send(authOK + frame('S', "server_version\x0013.9\x00") + readyIdle)
				for {
					kind, body := p.message()
					if kind != 'Q' {
						return
					}
					value, ok := map[string]string{"SHOW transaction_read_only\x00": tt.readOnly, "SHOW default_transaction_read_only\x00": tt.byDefault}[string(body)]
					if !ok {
						p.send(frame('E', "SERROR\x00C42601\x00Mcannot execute SQL commands in WAL sender\x00\x00") + readyIdle)
						continue
					}
					p.send(frame('T', "\x00\x01v\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00") +
						frame('D', "\x00\x01\x00\x00\x00"+string(rune(len(value)))+value) + frame('C', "SHOW\x00") + readyIdle)
				}
			})
			c := newPeer(t, r.Dial(t))
			c.startup("replication", "true")
			switch kind, body := c.message(); {
			case tt.want == "" && kind != 'R', tt.want != "" && (kind != 'E' || !strings.Contains(string(body), tt.want)):
				t.Errorf("message %q %q, want one about %q", kind, body, tt.want)
			}
		})
	}
}
