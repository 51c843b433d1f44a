package postgres

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgproto3/v2"
	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/proxy/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = proxytest.Password

// newRig starts an engine whose database runs script on each connection.
func newRig(t *testing.T, configure func(*Engine), script func(c *scripted)) *proxytest.Rig {
	t.Helper()
	return proxytest.Start(t, func(u *upstream.Dialer) proxy.Engine {
		e := &Engine{Credentials: proxytest.OneCredential{}, Upstream: u, CancelKeys: new(CancelKeys)}
		if configure != nil {
			configure(e)
		}
		return e
	}, func(c net.Conn) { script(newPeer(t, c)) })
}

// peer is one end of a scripted conversation, of either side.
type scripted struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

func newPeer(t *testing.T, c net.Conn) *scripted {
	return &scripted{Conn: c, r: bufio.NewReader(c), t: t}
}

func (p *scripted) send(s string) { _, _ = io.WriteString(p, s) }

// startup sends a startup packet of protocol 3.0 with user and the pairs given.
func (p *scripted) startup(pairs ...string) {
	s := wire.Startup{Version: 3 << 16, Params: []wire.Param{{Name: "user", Value: "anybody"}}}
	for i := 0; i+1 < len(pairs); i += 2 {
		s.Params = append(s.Params, wire.Param{Name: pairs[i], Value: pairs[i+1]})
	}
	_, _ = p.Write(s.Encode())
}

// message frames a body as a message of the protocol.
func frame(kind byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))) + body
}

// packet reads one packet without a type byte.
func (p *scripted) packet() []byte {
	b, err := wire.ReadPacket(p.r)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return b
}

// message reads one message; a nil message is the end of the connection.
func (p *scripted) message() (kind byte, body []byte) {
	m, err := wire.ReadMessage(p.r)
	if err != nil {
		return 0, nil
	}
	return m.Kind(), m.Body()
}

// fatal reads on to an ErrorResponse, which must be the last message.
func (p *scripted) fatal() pgproto3.ErrorResponse {
	p.t.Helper()
	var e pgproto3.ErrorResponse
	kind, body := p.message()
	if kind != 'E' {
		p.t.Fatalf("got message %q %q, want an error", kind, body)
	}
	if err := e.Decode(body); err != nil {
		p.t.Fatal(err)
	}
	if kind, body := p.message(); kind != 0 {
		p.t.Errorf("message %q %q after the error", kind, body)
	}
	return e
}

const (
	authOK      = "R\x00\x00\x00\x08\x00\x00\x00\x00"
	readyIdle   = "Z\x00\x00\x00\x05I"
	askClear    = "R\x00\x00\x00\x08\x00\x00\x00\x03"
	askKerberos = "R\x00\x00\x00\x08\x00\x00\x00\x02"
)
