package backend

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/tracing"
)

// goodbyeTimeout bounds the end in order of a connection that nobody logs in on.
const goodbyeTimeout = 5 * time.Second

// Params say where to log in, and as what.
type Params struct {
	Dialer *upstream.Dialer
	// Response is what is answered to the greeting, but for user, password, plugin and
	// the flags that say how they are sent; nil: credproxy's own.
	Response *wire.HandshakeResponse
	Database string         // where Response names none; empty: the secret's, else none
	Phase    upstream.Phase // nil: nobody hears
	// NoDatabase says that there is no default: a Response that names none gets none.
	NoDatabase bool
	Greeted    func(wire.Greeting) // hears what the database says first; nil: nobody does
}

func (p *Params) phase(name string, start time.Time, details ...zap.Field) {
	if p.Phase != nil {
		p.Phase(name, start, details...)
	}
}

// DatabaseFor returns the database that a login with cred is for, "" for none.
func (p *Params) DatabaseFor(cred *secrets.Credential) string {
	if p.Response != nil && p.Response.Database != "" {
		return p.Response.Database
	}
	return p.DefaultDatabase(cred)
}

// DefaultDatabase is DatabaseFor who names none.
func (p *Params) DefaultDatabase(cred *secrets.Credential) string {
	if p.NoDatabase {
		return ""
	}
	return cmp.Or(p.Database, cred.Endpoint.Database)
}

// Conn is a connection on which a login succeeded.
type Conn struct {
	*wire.PacketConn          // inside TLS, unless the mode is disable
	TCP              net.Conn // below it
	Host             string   // as dialled
	Port             int
	Greeting         wire.Greeting
	Cred             *secrets.Credential
	OK               []byte // the database's OK

	dialer *upstream.Dialer // that dialled it
	moves  bool             // a reset has needed to bring the database back
}

// PreLoginConn is a connection on which the database's greeting has been read, and
// nothing was said.
type PreLoginConn struct{ conn *Conn }

// Greeting returns what the database said.
func (c *PreLoginConn) Greeting() wire.Greeting { return c.conn.Greeting }

// Place returns the host and the port that were dialled.
func (c *PreLoginConn) Place() (host string, port int) { return c.conn.Host, c.conn.Port }

// Cred returns the credential that led to the database.
func (c *PreLoginConn) Cred() *secrets.Credential { return c.conn.Cred }

// LeadsTo reports whether the connection goes where cred says that its database is.
func (c *PreLoginConn) LeadsTo(d *upstream.Dialer, cred *secrets.Credential) bool {
	return c.conn.LeadsTo(d, cred)
}

// LeadsTo reports whether the connection goes where cred says that its database is.
func (c *Conn) LeadsTo(d *upstream.Dialer, cred *secrets.Credential) bool {
	host, port, err := d.Target(cred)
	return err == nil && host == c.Host && port == c.Port
}

// Dial connects to where cred, or else the Dialer, says that the database is, and reads
// the greeting. A database that has something against us says so in its place: the error
// is as that of [Login].
func Dial(ctx context.Context, p Params, cred *secrets.Credential) (*PreLoginConn, error) {
	tcp, host, port, err := p.Dialer.DialFor(ctx, cred, p.phase)
	if err != nil {
		return nil, err
	}
	c := &Conn{PacketConn: wire.NewPacketConn(tcp), TCP: tcp, Host: host, Port: port, Cred: cred, dialer: p.Dialer}
	_, span := tracing.Start(ctx, "greeting")
	err = upstream.BreakOff(ctx, tcp, c.readGreeting)
	if span.End(upstream.Why(ctx, err)); err != nil {
		return nil, c.fail(ctx, err)
	}
	if p.Greeted != nil {
		p.Greeted(c.Greeting)
	}
	return &PreLoginConn{c}, nil
}

func (c *Conn) readGreeting() error {
	payload, err := c.ReadPacket()
	switch {
	case err != nil:
		return broken("waiting for the greeting", err)
	case len(payload) > 0 && payload[0] == mysql.ERR_HEADER:
		return refusal(payload, c.Cred)
	}
	if c.Greeting, err = wire.ParseGreeting(payload); err != nil {
		return broken("the greeting", err)
	}
	return nil
}

// Login makes one attempt at the database: dial, greeting, TLS, authentication. It ends
// when ctx does. Without an error the connection is the caller's to close.
//
// The error is a *fault.Error, marked as secrets.MarkRejected if the database refused the
// credential itself. The database's own words are a *wire.ServerError in the chain.
func Login(ctx context.Context, p Params, cred *secrets.Credential) (*Conn, error) {
	start := time.Now()
	c, err := Dial(ctx, p, cred)
	if err != nil {
		return nil, err
	}
	return c.Login(ctx, p, cred, start)
}

// Login is the second half of the package's Login, for an attempt that began at the time
// given. With an error the connection is closed.
func (c *PreLoginConn) Login(ctx context.Context, p Params, cred *secrets.Credential, began time.Time) (*Conn, error) {
	want := ownResponse(c.conn.Greeting.Capabilities)
	if p.Response != nil {
		want = *p.Response
	}
	want.Database = p.DatabaseFor(cred)
	c.conn.Cred = cred
	if err := c.conn.login(ctx, p, want, began); err != nil {
		return nil, err
	}
	return c.conn, nil
}

// CloseCleanly ends a connection that nobody logs in on: a login and good-bye, so that
// the database counts no interrupted handshake against this host, which it would lock
// out after max_connect_errors of them. The login is cred's; nil is nobody's, because
// failed logins may lock an account. The error is that of the login.
func (c *PreLoginConn) CloseCleanly(ctx context.Context, p Params, cred *secrets.Credential) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTimeout)
	defer cancel()
	if cred == nil {
		cred = nobody()
	}
	c.conn.Cred = cred
	if err := c.conn.login(ctx, p, ownResponse(0), time.Now()); err != nil {
		return err
	}
	return c.conn.Close()
}

// nobody is a user that no database has.
func nobody() *secrets.Credential { return secrets.NewCredential("credproxy-nobody", "") }

// Close says good-bye and closes the connection.
func (c *Conn) Close() error {
	c.Seq = 0
	_ = c.WritePacket([]byte{mysql.COM_QUIT})
	return c.TCP.Close()
}

// protection tells for the log what protects the link.
func (c *Conn) protection() []zap.Field {
	tc, ok := c.PacketConn.Conn.(*tls.Conn)
	if !ok {
		return upstream.DescribeTLS(nil)
	}
	state := tc.ConnectionState()
	return upstream.DescribeTLS(&state)
}

// fail closes the connection and returns why it broke: if ctx has ended, that is
// why.
func (c *Conn) fail(ctx context.Context, err error) error {
	_ = c.TCP.Close()
	return upstream.Why(ctx, err)
}

// login logs in as want on a connection whose greeting has been read, in an attempt that
// began at the time given. It closes the connection if it fails.
func (c *Conn) login(ctx context.Context, p Params, want wire.HandshakeResponse, began time.Time) error {
	err := upstream.BreakOff(ctx, c.TCP, func() error { return c.authenticate(ctx, p, want, began) })
	if err != nil {
		return c.fail(ctx, err)
	}
	return nil
}

func (c *Conn) authenticate(ctx context.Context, p Params, want wire.HandshakeResponse, began time.Time) error {
	auth := authenticator{cred: c.Cred}
	auth.begin(c.Greeting.Plugin, c.Greeting.Salt)
	want = want.ForServer(c.Greeting.Capabilities, c.Cred.Username, want.Database, auth.plugin, c.dialer.Encrypts())
	start := time.Now()
	_, span := tracing.Start(ctx, "tls")
	err := c.encrypt(ctx, want)
	if span.End(upstream.Why(ctx, err)); err != nil {
		return err
	}
	auth.link = c.dialer.Link(c.PacketConn.Conn)
	p.phase("tls", start, c.protection()...)
	start = time.Now()
	if overtaken := c.Cred.RejectedSince(began); overtaken != nil {
		auth.cred = nobody()
		want.User = auth.cred.Username
		want.Auth, _ = auth.scramble() // of no password
		_ = c.WritePacket(want.Encode())
		_, _ = auth.run(c.PacketConn)
		return overtaken
	}
	_, span = tracing.Start(ctx, "auth")
	span.Text("credproxy.version_id", c.Cred.ShortVersion())
	err = c.answer(&auth, want)
	span.Text("credproxy.auth_method", auth.plugin)
	if span.End(upstream.Why(ctx, err)); err != nil {
		return err
	}
	p.phase("auth", start, zap.String("method", auth.plugin), zap.String("user", c.Cred.Username), zap.String("version", c.Cred.ShortVersion()))
	return nil
}

// answer sends the handshake response and answers the database until it is satisfied or says no.
func (c *Conn) answer(auth *authenticator, want wire.HandshakeResponse) (err error) {
	if want.Auth, err = auth.scramble(); err != nil {
		return err
	}
	if err := c.WritePacket(want.Encode()); err != nil {
		return broken("sending the handshake response", err)
	}
	c.OK, err = auth.run(c.PacketConn)
	return err
}

// encrypt starts TLS, unless the mode is disable. The request carries the
// client's flags, because MySQL takes them from here and not from the response.
func (c *Conn) encrypt(ctx context.Context, want wire.HandshakeResponse) error {
	if !c.dialer.Encrypts() {
		return nil
	}
	if c.Greeting.Capabilities&mysql.CLIENT_SSL == 0 {
		return &fault.Error{Kind: fault.UpstreamTLS, Message: "the database does not offer TLS; nothing was sent to it",
			Hint: "Turn on TLS at the database. On RDS it always is: check host and port."}
	}
	if c.R.Buffered() > 0 {
		return broken("bytes after the greeting", nil)
	}
	if err := c.WritePacket(want.Head()); err != nil {
		return broken("asking for TLS", err)
	}
	tc, err := c.dialer.Handshake(ctx, c.TCP, c.Host)
	if err != nil {
		return err
	}
	c.PacketConn = c.Over(tc)
	return nil
}
