package mysql

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/proxy/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = proxytest.Password

// newRig starts an engine whose database runs script on each connection.
func newRig(t *testing.T, configure func(*Engine), script func(c *scripted)) *proxytest.Rig {
	t.Helper()
	return proxytest.Start(t, func(u *upstream.Dialer) proxy.Engine {
		e := &Engine{Credentials: proxytest.OneCredential{}, Upstream: u}
		if configure != nil {
			configure(e)
		}
		return e
	}, func(c net.Conn) { script(newPeer(t, c)) })
}

// peer is one end of a scripted conversation, of either side.
type scripted struct {
	*wire.PacketConn
	t *testing.T
}

func newPeer(t *testing.T, c net.Conn) *scripted { return &scripted{wire.NewPacketConn(c), t} }

func (p *scripted) send(s string) { _ = p.WritePacket([]byte(s)) }
func (p *scripted) raw(s string)  { _, _ = io.WriteString(p.Conn, s) }

// payload reads one packet; "" is the end of the connection.
func (p *scripted) payload() string {
	b, err := p.ReadPacket()
	if err != nil {
		return ""
	}
	return string(b)
}

// greet sends the greeting of a server and reads what the client makes of it.
func (p *scripted) greet(g wire.Greeting) wire.HandshakeResponse {
	_ = p.WritePacket(g.Encode())
	r, err := wire.ParseHandshakeResponse([]byte(p.payload()))
	if err != nil && !errors.Is(err, wire.ErrTruncated) {
		p.t.Error(err)
	}
	return r
}

const okPacket = "\x00\x00\x00\x02\x00\x00\x00"

// login answers the greeting as r, and returns what comes back.
func (p *scripted) login(r wire.HandshakeResponse) (told wire.Greeting, reply string) {
	p.t.Helper()
	told, err := wire.ParseGreeting([]byte(p.payload()))
	if err != nil {
		p.t.Fatal(err)
	}
	_ = p.WritePacket(r.Encode())
	return told, p.payload()
}

// passwordless is the response of a client without a password.
func passwordless(plugin string) wire.HandshakeResponse {
	r := realResponse()
	r.Auth, r.Plugin = nil, plugin
	return r
}

// wantError reads on to an ERR packet, which must be the last.
func wantError(t *testing.T, p *scripted, payload string) *wire.ServerError {
	t.Helper()
	if payload == "" || payload[0] != mysql.ERR_HEADER {
		t.Fatalf("got packet %q, want an error", payload)
	}
	e, err := wire.ParseError([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(p.R); len(rest) > 0 {
		t.Errorf("%q after the error", rest)
	}
	if bytes.Contains([]byte(payload), []byte(password)) {
		t.Errorf("the password is in the error %q", payload)
	}
	return e
}
