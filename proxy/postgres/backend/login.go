package backend

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/tracing"
)

// maxPreamble caps what the database may send before it is satisfied and that
// the client shall see: protocol negotiation and notices, in bytes.
const maxPreamble = 64 << 10

// Params say where to log in, and as what.
type Params struct {
	Dialer   *upstream.Dialer
	Startup  wire.Startup // what is asked for; its user is replaced by the credential's
	Database string       // where Startup names none; empty: the secret's
	Role     string       // to take on at login; empty: none
	// NoDatabase says that there is no default: a Startup that names none gets what the
	// server takes then.
	NoDatabase bool
	Keys       *ScramKeys     // derived before; nil: none
	Phase      upstream.Phase // nil: nobody hears
}

// DatabaseFor returns the database that a login with cred is for: the startup
// packet's, else the configuration's, else the secret's, else the user name of the
// startup packet, which is what the server would take.
func (p *Params) DatabaseFor(cred *secrets.Credential) string {
	database := p.Startup.Get("database")
	if !p.NoDatabase {
		database = cmp.Or(database, p.Database, cred.Endpoint.Database)
	}
	return cmp.Or(database, p.Startup.Get("user"))
}

// Conn is a connection on which the database has said AuthenticationOk.
type Conn struct {
	net.Conn          // inside TLS, unless the mode is disable
	TCP      net.Conn // below it
	Host     string   // as dialled
	Port     int
	Cred     *secrets.Credential
	Database string
	Method   string // how the login was authenticated
	// Preamble holds what was read that is for a client: the negotiation of the protocol
	// and notices, and, after Begin, AuthenticationOk and notices that followed it.
	Preamble []byte

	r         *bufio.Reader
	began     time.Time // the attempt
	begun     bool      // the session has: ReadyForQuery was read
	walsender bool      // of physical replication, which takes no SQL
	// roleless: the session began without SET ROLE, also of a role's or a database's settings.
	roleless bool
}

// Login makes one attempt at the database: dial, TLS, startup packet, authentication.
// It ends when ctx does. Without an error the connection is the caller's to close.
//
// The error is a *fault.Error, marked as secrets.MarkRejected if the database refused the
// credential itself. The database's own words are a *ServerError in the chain.
func Login(ctx context.Context, p Params, cred *secrets.Credential) (*Conn, error) {
	if p.Phase == nil {
		p.Phase = upstream.NoPhase
	}
	if p.Keys == nil {
		p.Keys = new(ScramKeys)
	}
	start := time.Now()
	tcp, host, port, err := p.Dialer.DialFor(ctx, cred, p.Phase)
	if err != nil {
		return nil, err
	}
	c := &Conn{TCP: tcp, Host: host, Port: port, Cred: cred, began: start, Database: p.DatabaseFor(cred), walsender: p.Startup.PhysicalReplication()}
	if err := upstream.BreakOff(ctx, tcp, func() error { return c.login(ctx, p) }); err != nil {
		return nil, c.fail(ctx, err)
	}
	return c, nil
}

// Begin waits until the database has said whether it lets the user in, which it looks at
// after AuthenticationOk. It reads no further than it has to. The errors are those of
// [Login], marked as secrets.MarkAccepted unless the database refused the credential after
// all. With an error the connection is closed.
func (c *Conn) Begin(ctx context.Context) error {
	err := upstream.BreakOff(ctx, c.TCP, c.begin)
	if err == nil {
		return nil
	}
	if err = c.fail(ctx, err); secrets.IsRejected(err) {
		return err
	}
	return secrets.MarkAccepted(err)
}

func (c *Conn) begin() error {
	c.Preamble = append(c.Preamble, 'R', 0, 0, 0, 8, 0, 0, 0, 0)
	for {
		kind, err := c.r.Peek(1)
		if err != nil {
			return Broken("waiting for the session to begin", err)
		}
		if kind[0] != 'N' && kind[0] != 'E' {
			return nil
		}
		m, err := c.ReadMessage()
		switch {
		case err != nil:
			return Broken("waiting for the session to begin", err)
		case m.Kind() == 'E':
			err := Refusal(m, c.Cred)
			if said, ok := errors.AsType[*ServerError](err); ok {
				said.Raw = append(c.Preamble, said.Raw...)
			}
			return err
		}
		if c.Preamble = append(c.Preamble, m.Raw...); len(c.Preamble) > maxPreamble {
			return Broken("endless notices", nil)
		}
	}
}

// ReadMessage reads the next message of the database.
func (c *Conn) ReadMessage() (wire.Message, error) { return wire.ReadMessage(c.r) }

// Buffered returns how many bytes can be read without waiting.
func (c *Conn) Buffered() int { return c.r.Buffered() }

// Detach returns what was read ahead, in memory of its own. Nothing is read through c
// after it: what goes on with the session reads from c.Conn.
func (c *Conn) Detach() []byte {
	b, _ := c.r.Peek(c.r.Buffered()) // cannot fail: it is there
	c.r = nil                        // its memory is not needed as long as the session lasts
	return bytes.Clone(b)
}

// Close says good-bye and closes the connection.
func (c *Conn) Close() error {
	_, _ = c.Write([]byte{'X', 0, 0, 0, 4})
	return c.Conn.Close()
}

// fail closes the connection and returns why it broke: if ctx has ended, that is
// why.
func (c *Conn) fail(ctx context.Context, err error) error {
	_ = c.TCP.Close()
	return upstream.Why(ctx, err)
}

// login does what follows the dial.
func (c *Conn) login(ctx context.Context, p Params) error {
	start := time.Now()
	_, span := tracing.Start(ctx, "tls")
	link, state, err := Encrypt(ctx, p.Dialer, c.TCP, c.Host)
	if span.End(upstream.Why(ctx, err)); err != nil {
		return err
	}
	p.Phase("tls", start, upstream.DescribeTLS(state)...)
	start = time.Now()
	c.Conn, c.r = link, bufio.NewReader(link)
	_, span = tracing.Start(ctx, "auth")
	span.Text("credproxy.version_id", c.Cred.ShortVersion())
	err = c.ask(p, state)
	span.Text("credproxy.auth_method", c.Method)
	if span.End(upstream.Why(ctx, err)); err != nil {
		return err
	}
	p.Phase("auth", start, zap.String("method", c.Method), zap.String("user", c.Cred.Username), zap.String("version", c.Cred.ShortVersion()))
	return nil
}

// ask sends the startup packet and answers the database until it is satisfied or says no.
func (c *Conn) ask(p Params, state *tls.ConnectionState) error {
	if _, err := c.Write(p.Startup.Rewritten(c.Cred.Username, c.Database, p.Role).Encode()); err != nil {
		return Broken("sending the startup packet", err)
	}
	return c.authenticate(p, state)
}

// Encrypt asks for TLS on conn, to a server known as host, and starts it, unless the
// mode is disable (section "SSL Session Encryption"). Exactly one byte of answer is
// read: more would be taken for encrypted data. The state is nil without TLS.
func Encrypt(ctx context.Context, d *upstream.Dialer, conn net.Conn, host string) (net.Conn, *tls.ConnectionState, error) {
	if !d.Encrypts() {
		return conn, nil, nil
	}
	if _, err := conn.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
		return nil, nil, Broken("asking for TLS", err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return nil, nil, Broken("asking for TLS", err)
	}
	switch answer[0] {
	case 'S':
	case 'N':
		return nil, nil, &fault.Error{Kind: fault.UpstreamTLS, Message: "the database does not offer TLS; nothing was sent to it",
			Hint: "Turn on ssl at the database. On RDS it always is: check host and port."}
	default:
		return nil, nil, Broken(fmt.Sprintf("the answer %q to the request for TLS", answer[0]), nil)
	}
	tc, err := d.Handshake(ctx, conn, host)
	if err != nil {
		return nil, nil, err
	}
	state := tc.ConnectionState()
	return tc, &state, nil
}

// authenticate answers the database until it is satisfied or says no.
func (c *Conn) authenticate(p Params, state *tls.ConnectionState) error {
	auth := authenticator{cred: c.Cred, tls: state, link: p.Dialer.Link(c.Conn), keys: p.Keys}
	defer func() {
		c.Method = auth.method
		auth.end()
	}()
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return Broken("waiting for the database's answer", err)
		}
		switch m.Kind() {
		case 'R':
			reply, done, err := auth.answer(m)
			if err != nil || done {
				return err
			}
			if reply == nil {
				continue
			}
			if err := c.Cred.RejectedSince(c.began); err != nil {
				return err
			}
			if _, err := c.Write(reply); err != nil {
				return Broken("answering the database", err)
			}
		case 'E':
			return Refusal(m, c.Cred)
		case 'v', 'N':
			if c.Preamble = append(c.Preamble, m.Raw...); len(c.Preamble) > maxPreamble {
				return Broken("endless notices", nil)
			}
		default:
			return Broken(fmt.Sprintf("message %q out of turn", m.Kind()), nil)
		}
	}
}
