package postgres

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/peer"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/relay"
)

// alpn is the protocol name that direct TLS demands (section "SSL Session
// Encryption").
const alpn = "postgresql"

// tlsHandshakeRecord is the first byte of a TLS connection (RFC 8446, 5.1). No
// startup packet begins with it: its length would be above the cap.
const tlsHandshakeRecord = 0x16

// errPortCheck is a client that left without a byte: a health check of the port.
var errPortCheck = errors.New("the client connected and left")

// client is the connection to a client, inside TLS if it asked for it.
type client struct {
	net.Conn
	r *bufio.Reader
}

func newClient(c net.Conn) *client { return &client{c, bufio.NewReaderSize(c, 1024)} }

// leg hands the connection over to the relay. Nothing is read from c after it.
func (c *client) leg() relay.Leg {
	l := relay.Leg{Conn: c.Conn, Buffered: buffered(c.r), Farewell: farewell}
	c.r = nil // its memory is not needed as long as the session lasts
	return l
}

// buffered returns what was read ahead, in memory of its own.
func buffered(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered()) // cannot fail: it is there
	return bytes.Clone(b)
}

// request is what a client asks for at last: a session or a cancel.
type request struct {
	startup *wire.Startup
	cancel  *wire.CancelKey
}

// receive answers encryption requests until the client asks for a session or a
// cancel. The client it returns is the one to go on with. Encryption requests
// may come at most once each, in either order.
func (e *Engine) receive(ctx context.Context, c *client) (*client, request, error) {
	first, err := c.r.Peek(1)
	if err == io.EOF {
		return c, request{}, errPortCheck
	}
	if err != nil {
		return c, request{}, clientError(err)
	}
	encrypted, askedTLS, askedGSS := false, false, false
	if first[0] == tlsHandshakeRecord {
		if c, err = e.directTLS(ctx, c); err != nil {
			return c, request{}, err
		}
		encrypted, askedTLS, askedGSS = true, true, true
	}
	for {
		packet, err := wire.ReadPacket(c.r)
		if errors.Is(err, wire.ErrLength) { // not our protocol at all (HTTP, say): like the server, say nothing
			return c, request{}, silent(err)
		}
		if err != nil {
			return c, request{}, clientError(err)
		}
		switch code := binary.BigEndian.Uint32(packet); {
		case code == wire.CodeSSL && !askedTLS:
			askedTLS = true
			if encrypted, err = e.answerTLS(ctx, &c); err != nil {
				return c, request{}, err
			}
		case code == wire.CodeGSSENC && !askedGSS && !encrypted:
			askedGSS = true
			if _, err := c.Write([]byte{'N'}); err != nil {
				return c, request{}, clientError(err)
			}
		case code == wire.CodeCancel:
			key, err := wire.ParseCancel(packet)
			if err != nil {
				return c, request{}, silent(err)
			}
			return c, request{cancel: &key}, nil
		default:
			s, err := wire.ParseStartup(packet)
			if err != nil {
				return c, request{}, &fault.Error{Kind: fault.ClientProtocol, Message: err.Error(), Err: err}
			}
			if e.RequireTLS && !encrypted && !peer.IsUnix(c) {
				return c, request{}, &fault.Error{Kind: fault.NotAllowed,
					Message: "this listener takes only TLS connections with a client certificate",
					Hint:    "Set sslmode=require, sslcert and sslkey at the client."}
			}
			return c, request{startup: &s}, nil
		}
	}
}

// answerTLS answers an SSLRequest: N, or S and a handshake.
func (e *Engine) answerTLS(ctx context.Context, c **client) (encrypted bool, err error) {
	if e.ClientTLS == nil {
		if _, err := (*c).Write([]byte{'N'}); err != nil {
			return false, clientError(err)
		}
		return false, nil
	}
	// Bytes before the handshake would be taken for bytes inside it
	// (CVE-2021-23214).
	if (*c).r.Buffered() > 0 {
		return false, silent(errors.New("received unencrypted data after SSL request"))
	}
	if _, err := (*c).Write([]byte{'S'}); err != nil {
		return false, clientError(err)
	}
	tc := tls.Server(relay.NewRecordConn((*c).Conn, nil), e.ClientTLS)
	if err := tc.HandshakeContext(ctx); err != nil {
		return false, silent(fmt.Errorf("tls handshake with the client: %w", err))
	}
	*c = newClient(tc)
	return true, nil
}

// directTLS accepts a client that starts with TLS at once.
func (e *Engine) directTLS(ctx context.Context, c *client) (*client, error) {
	if e.ClientTLS == nil {
		return c, silent(errors.New("the client starts with TLS, and client_tls is not configured; set client_tls.cert_file, or sslmode=disable at the client"))
	}
	tc := tls.Server(relay.NewRecordConn(c.Conn, buffered(c.r)), e.ClientTLS)
	if err := tc.HandshakeContext(ctx); err != nil {
		return c, silent(fmt.Errorf("tls handshake with the client: %w", err))
	}
	if tc.ConnectionState().NegotiatedProtocol != alpn {
		return c, silent(errors.New("direct TLS connection without the ALPN protocol postgresql"))
	}
	return newClient(tc), nil
}

// silent is a breach of the protocol that is not answered, because whoever sent
// it does not await a message of PostgreSQL.
func silent(err error) error {
	return &fault.Error{Kind: fault.ClientProtocol, Message: "the client does not keep to the protocol", Err: err, Silent: true}
}

// clientError classifies a failure to read from or write to the client.
func clientError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &fault.Error{Kind: fault.ClientTimeout, Message: "the client did not send its startup packet in time", Err: err, Silent: true}
	}
	return &fault.Error{Kind: fault.ClientGone, Message: "the client left before it was logged in", Err: err, Silent: true}
}

// sendError sends the client an error that ends the session, if it awaits one.
func (c *client) sendError(err error) {
	if fault.As(err).Silent {
		return
	}
	_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
	_, _ = c.Write(errorResponse(err))
}
