package mysql

import (
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

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/peer"
	"github.com/credproxy/credproxy/proxy/relay"
)

// client is the connection to a client, inside TLS if it asked for it.
type client struct {
	*wire.PacketConn
	greeted bool
	told    wire.Greeting // what it heard from us
	want    *wire.HandshakeResponse
	// libMariaDB says that the client is MariaDB's library for C.
	libMariaDB bool
	framed     *framedConn // nil: its packets are not framed
}

// greet passes the database's greeting on.
func (c *client) greet(g wire.Greeting, tls bool) error {
	c.greeted, c.told = true, g.ForClient(tls)
	return clientError(c.WritePacket(c.told.Encode()))
}

// receive reads the client's answer to the greeting, inside TLS if it asks for
// it, and brings the client to where it awaits OK or an error.
func (e *Engine) receive(ctx context.Context, c *client) error {
	payload, err := c.ReadPacket()
	if err != nil {
		return clientError(err)
	}
	encrypted := false
	if len(payload) == wire.SSLRequestSize && binary.LittleEndian.Uint32(payload)&mysql.CLIENT_SSL != 0 {
		if err := e.startTLS(ctx, c); err != nil {
			return err
		}
		encrypted = true
		if payload, err = c.ReadPacket(); err != nil {
			return clientError(err)
		}
	}
	want, err := wire.ParseHandshakeResponse(payload)
	if err != nil {
		return &fault.Error{Kind: fault.ClientProtocol, Message: "the client's handshake response cannot be read", Err: err}
	}
	c.want, c.libMariaDB = &want, bytes.Contains(want.Attributes, []byte("_client_name\x0alibmariadb"))
	if want.Capabilities&(mysql.CLIENT_COMPRESS|mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM) == mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM {
		return &fault.Error{Kind: fault.ClientProtocol, Message: "the client compresses with zstd (CLIENT_ZSTD_COMPRESSION_ALGORITHM), which was not offered",
			Hint: "Turn compression off at the client, or set it to zlib."}
	}
	if e.RequireTLS && !encrypted && !peer.IsUnix(c) {
		return &fault.Error{Kind: fault.NotAllowed, Message: "this listener takes only TLS connections with a client certificate",
			Hint: "Set ssl-mode, ssl-cert and ssl-key at the client."}
	}
	return c.settle(want.Plugin, want.Auth, want.Capabilities&mysql.CLIENT_PLUGIN_AUTH != 0)
}

// startTLS answers an SSLRequest (page "Protocol::SSLRequest").
func (e *Engine) startTLS(ctx context.Context, c *client) error {
	if e.ClientTLS == nil {
		return &fault.Error{Kind: fault.ClientProtocol, Message: "the client asks for TLS, which was not offered",
			Hint: "Set client_tls in the configuration of credproxy, or turn TLS off at the client."}
	}
	// Clients do not wait for an answer to the request, so that the ClientHello may
	// have come with it. All that came goes into the handshake.
	tc := tls.Server(relay.NewRecordConn(c.Conn, c.ReadAhead()), e.ClientTLS)
	if err := tc.HandshakeContext(ctx); err != nil {
		return silent(fault.ClientProtocol, "the tls handshake with the client failed", err)
	}
	c.PacketConn = c.Over(tc)
	return nil
}

// settle accepts whatever password the client sends: with it or without it, the
// client ends up awaiting OK or an error. A client that has prepared its answer
// for another plugin than we named awaits to be told to switch to its own.
func (c *client) settle(plugin string, auth []byte, plugins bool) error {
	switch {
	case !plugins, plugin == mysql.AUTH_CLEAR_PASSWORD && len(auth) > 0:
		return nil
	case plugin == c.told.Plugin:
		return c.satisfy(plugin, auth)
	}
	return c.switchTo(plugin)
}

// switchTo makes the client answer anew, with its own plugin if that is one we
// know.
func (c *client) switchTo(plugin string) error {
	if plugin != mysql.AUTH_NATIVE_PASSWORD && plugin != mysql.AUTH_CACHING_SHA2_PASSWORD {
		plugin = c.told.Plugin
	}
	request := wire.AppendText([]byte{mysql.EOF_HEADER}, plugin)
	request = append(append(request, wire.NewSalt()...), 0)
	if err := c.WritePacket(request); err != nil {
		return clientError(err)
	}
	auth, err := c.ReadPacket()
	if err != nil {
		return clientError(err)
	}
	return c.satisfy(plugin, auth)
}

// satisfy tells a client that has sent a scrambled caching_sha2 password that we
// know it. One without a password has sent nothing, or a NUL.
func (c *client) satisfy(plugin string, auth []byte) error {
	if plugin != mysql.AUTH_CACHING_SHA2_PASSWORD || len(auth) <= 1 {
		return nil
	}
	return clientError(c.WritePacket([]byte{mysql.MORE_DATE_HEADER, mysql.CACHE_SHA2_FAST_AUTH}))
}

// loggedIn lets go of what the login alone needed, and begins the framing that the client
// has asked for.
func (c *client) loggedIn() {
	c.want.ForgetLogin()
	if c.want.Capabilities&mysql.CLIENT_COMPRESS != 0 {
		c.framed = newFramedConn(c.Conn, bytes.NewReader(c.ReadAhead()))
		c.PacketConn = wire.NewPacketConn(c.framed)
	}
}

// farewell is the session's [relay.Farewell].
func (c *client) farewell(tail []byte, why error) (message []byte, idle bool) {
	message, idle = farewell(tail, why)
	if c.framed != nil && idle {
		c.framed.answerNext()
	}
	return message, idle
}

// sendError sends the client an error, if it awaits one.
func (c *client) sendError(err error) {
	if fault.As(err).Silent {
		return
	}
	_ = c.SetWriteDeadline(time.Now().Add(tellTimeout))
	_ = c.WritePacket(errorPacket(err, c.want != nil, c.libMariaDB))
}

// tellTimeout is how long a client may take to hear why it is not served.
const tellTimeout = 2 * time.Second

func silent(kind fault.Kind, message string, err error) error {
	return &fault.Error{Kind: kind, Message: message, Err: err, Silent: true}
}

// errPortCheck is a client that left without a byte: a health check of the port.
var errPortCheck = errors.New("the client connected and left")

// clientError classifies a failure to read from or write to the client. It
// returns nil for nil.
func clientError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return silent(fault.ClientGone, "the client left before it was logged in", errPortCheck)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return silent(fault.ClientTimeout, "the client did not answer the greeting in time", err)
	}
	if _, isNet := errors.AsType[net.Error](err); isNet || errors.Is(err, io.ErrUnexpectedEOF) {
		return silent(fault.ClientGone, "the client left before it was logged in", err)
	}
	return &fault.Error{Kind: fault.ClientProtocol, Message: fmt.Sprintf("the client does not keep to the protocol: %v", err)}
}
