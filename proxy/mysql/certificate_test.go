package mysql

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/nettest"
)

// TestCertificateComesFirst has more clients than there are places connect to a listener
// that demands certificates, and show none. They take no place, and the database is not
// dialled for them: a holder of a certificate logs in.
func TestCertificateComesFirst(t *testing.T) {
	cert := nettest.Certificate(t, "proxy.example")
	var dialled atomic.Int32
	r := newRig(t, func(e *Engine) {
		e.RequireTLS, e.ClientTLS = true, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}
		e.keepGreeting(realGreeting())
	}, func(p *scripted) {
		dialled.Add(1)
		p.greet(realGreeting())
		p.send(okPacket)
		p.Seq = 0
		p.payload()
	})
	for range r.Server.Limits.MaxConnections + 10 {
		bare := newPeer(t, r.Dial(t))
		if g, err := wire.ParseGreeting([]byte(bare.payload())); err != nil || g.ID != 0 {
			t.Fatalf("greeting %+v, %v", g, err)
		}
	}
	if n := dialled.Load(); n != 0 || r.Server.Active() != 0 {
		t.Errorf("the database was dialled %d times, and %d places are taken", n, r.Server.Active())
	}
	if got := newPeer(t, r.Dial(t)).logInWith(cert); got != okPacket {
		t.Errorf("the holder got %q", got)
	}
	if n := dialled.Load(); n != 1 {
		t.Errorf("the database was dialled %d times, want 1", n)
	}
}

// logInWith logs a client in inside TLS, and returns what it hears at the end.
func (p *scripted) logInWith(cert tls.Certificate) string {
	p.payload()
	in := passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD)
	in.Capabilities |= mysql.CLIENT_SSL
	_ = p.WritePacket(in.Head())
	p.PacketConn = p.Over(tls.Client(p.Conn, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}))
	_ = p.WritePacket(in.Encode())
	return p.payload()
}

// TestFirstHoldersAreGreetedAsDirectly has the first clients of a process come, all at once,
// to a listener that demands certificates. One connection tells what to greet them with.
func TestFirstHoldersAreGreetedAsDirectly(t *testing.T) {
	cert := nettest.Certificate(t, "proxy.example")
	var dialled atomic.Int32
	r := newRig(t, func(e *Engine) {
		e.RequireTLS, e.ClientTLS = true, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}
	}, func(p *scripted) {
		dialled.Add(1)
		p.greet(realGreeting())
		p.send(okPacket)
		p.Seq = 0
		p.payload()
	})
	const holders = 10
	var wg sync.WaitGroup
	for range holders {
		c := newPeer(t, r.Dial(t))
		wg.Go(func() {
			if got := c.logInWith(cert); got != okPacket {
				t.Errorf("a holder got %q", got)
			}
		})
	}
	wg.Wait()
	if n := dialled.Load(); n != holders+1 {
		t.Errorf("the database was dialled %d times for %d holders", n, holders)
	}
}
