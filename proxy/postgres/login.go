package postgres

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/relay"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// flushAt is how much of the session's beginning is gathered into one write, in
// bytes.
const flushAt = 32 << 10

// maxPreamble caps what the database may send before it is satisfied and that
// the client shall see: protocol negotiation and notices, in bytes.
const maxPreamble = 64 << 10

// serverConn is a connection to the database on which a login succeeded.
type serverConn struct {
	net.Conn          // inside TLS, unless the mode is disable
	tcp      net.Conn // below it
	host     string   // as dialled
	r        *bufio.Reader
	preamble []byte // messages for the client from before AuthenticationOk
	cred     *secrets.Credential
	began    time.Time // the attempt
	database string
	method   string // how the login was authenticated
}

// leg hands the connection over to the relay. Nothing is read from u after it.
func (u *serverConn) leg() relay.Leg {
	l := relay.Leg{Conn: u.Conn, Buffered: buffered(u.r)}
	u.r = nil // its memory is not needed as long as the session lasts
	return l
}

// login logs in at the database for a client, with whichever credential it
// accepts.
func (e *Engine) login(ctx context.Context, s *proxy.Session, c *client, want wire.Startup) (*serverConn, error) {
	waiting, stop := proxy.CancelOnClientClose(ctx, c.Conn, c.r)
	defer stop()
	var up *serverConn
	err := e.Credentials.Login(waiting, func(ctx context.Context, cred *secrets.Credential) (err error) {
		if err := e.checkDatabase(want, e.databaseFor(want, cred)); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, s.LoginTimeout())
		defer cancel()
		up, err = e.connect(ctx, s.Phase, want, cred)
		return err
	})
	return up, err
}

// connect makes one attempt: dial, TLS, startup, authentication.
func (e *Engine) connect(ctx context.Context, phase upstream.Phase, want wire.Startup, cred *secrets.Credential) (*serverConn, error) {
	host, port, err := e.Upstream.Target(cred)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	conn, err := e.Upstream.Dial(ctx, host, port)
	if err != nil {
		return nil, err
	}
	phase("dial", start, zap.Stringer("upstream", conn.RemoteAddr()), zap.String("version", cred.ShortVersion()))
	up := &serverConn{tcp: conn, host: host, cred: cred, began: start, database: e.databaseFor(want, cred)}
	stop := upstream.BreakOff(ctx, conn)
	defer stop()
	if err := e.logIn(ctx, phase, up, want); err != nil {
		return nil, up.fail(ctx, err)
	}
	return up, nil
}

// fail closes the connection and tells why it broke: if ctx has ended, that is
// why.
func (u *serverConn) fail(ctx context.Context, err error) error {
	_ = u.tcp.Close()
	if ctx.Err() != nil {
		return fmt.Errorf("%v: %w", err, context.Cause(ctx)) // for the log, the step too
	}
	return err
}

// logIn does what follows the dial.
func (e *Engine) logIn(ctx context.Context, phase upstream.Phase, up *serverConn, want wire.Startup) error {
	start := time.Now()
	link, state, err := e.encrypt(ctx, up.tcp, up.host)
	if err != nil {
		return err
	}
	phase("tls", start, upstream.DescribeTLS(state)...)
	start = time.Now()
	up.Conn, up.r = link, bufio.NewReader(link)
	if _, err := up.Write(want.Rewritten(up.cred.Username, up.database, e.Role).Encode()); err != nil {
		return broken("sending the startup packet", err)
	}
	if err := e.authenticate(up, state); err != nil {
		return err
	}
	phase("auth", start, zap.String("method", up.method), zap.String("user", up.cred.Username), zap.String("version", up.cred.ShortVersion()))
	return nil
}

// encrypt asks for TLS and starts it, unless the mode is disable (section "SSL
// Session Encryption"). Exactly one byte of answer is read: more would be taken
// for encrypted data.
func (e *Engine) encrypt(ctx context.Context, conn net.Conn, host string) (net.Conn, *tls.ConnectionState, error) {
	if e.Upstream.Mode == upstream.Disable {
		return conn, nil, nil
	}
	if _, err := conn.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
		return nil, nil, broken("asking for TLS", err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return nil, nil, broken("asking for TLS", err)
	}
	switch answer[0] {
	case 'S':
	case 'N':
		return nil, nil, &fault.Error{Kind: fault.UpstreamTLS, Message: "the database does not offer TLS; nothing was sent to it",
			Hint: "Turn on ssl at the database. On RDS it always is: check host and port."}
	default:
		return nil, nil, broken(fmt.Sprintf("the answer %q to the request for TLS", answer[0]), nil)
	}
	tc, err := e.Upstream.Handshake(ctx, conn, host)
	if err != nil {
		return nil, nil, err
	}
	state := tc.ConnectionState()
	return tc, &state, nil
}

// authenticate answers the database until it is satisfied or says no.
func (e *Engine) authenticate(up *serverConn, state *tls.ConnectionState) error {
	auth := authenticator{cred: up.cred, tls: state, verified: e.Upstream.Verified(), scram: &e.scram}
	defer func() { up.method = auth.method }()
	for {
		m, err := wire.ReadMessage(up.r)
		if err != nil {
			return broken("waiting for the database's answer", err)
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
			if err := up.cred.Overtaken(up.began); err != nil {
				return err
			}
			if _, err := up.Write(reply); err != nil {
				return broken("answering the database", err)
			}
		case 'E':
			return refusal(m, up.cred)
		case 'v', 'N':
			if up.preamble = append(up.preamble, m.Raw...); len(up.preamble) > maxPreamble {
				return broken("endless notices", nil)
			}
		default:
			return broken(fmt.Sprintf("message %q out of turn", m.Kind()), nil)
		}
	}
}

// databaseFor is the database that the login is for: the client's, else the
// configuration's, else the secret's, else the client's user name, which is what
// the server would take.
func (e *Engine) databaseFor(want wire.Startup, cred *secrets.Credential) string {
	for _, name := range []string{want.Get("database"), e.Database, cred.Endpoint.Database} {
		if name != "" {
			return name
		}
	}
	return want.Get("user")
}

func (e *Engine) checkDatabase(want wire.Startup, database string) error {
	physical := want.PhysicalReplication()
	switch {
	case len(e.Databases) == 0, slices.Contains(e.Databases, database) && !physical:
		return nil
	case physical:
		return secrets.Unoffered(&fault.Error{Kind: fault.NotAllowed, Message: "physical replication reads every database and may not be used through this listener",
			Hint: "Give it a database of its own in the configuration of credproxy, without access.databases."})
	}
	return fault.ErrDatabase(database)
}

// welcome sends the client what the database says from AuthenticationOk on, up
// to its cancel key, which it replaces. It returns with the function that ends
// the key's life.
func (e *Engine) welcome(c *client, up *serverConn) (remove func(), err error) {
	out := append(up.preamble, 'R', 0, 0, 0, 8, 0, 0, 0, 0)
	up.preamble = nil
	for {
		if len(out) > flushAt || up.r.Buffered() == 0 && len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return nil, clientError(err)
			}
			out = out[:0]
		}
		m, err := wire.ReadMessage(up.r)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, err // fault.As knows
			}
			return nil, broken("waiting for the session to begin", err)
		}
		switch m.Kind() {
		case 'K':
			key, err := wire.ParseKey(m.Body())
			if err != nil {
				return nil, broken("a cancel key that is not one", err)
			}
			own, remove := e.targets.add(key, up.tcp.RemoteAddr(), up.host)
			_, err = c.Write(append(out, own.BackendKeyData()...))
			if err != nil {
				remove()
				return nil, clientError(err)
			}
			return remove, nil
		case 'Z': // a server without cancel keys
			if _, err := c.Write(append(out, m.Raw...)); err != nil {
				return nil, clientError(err)
			}
			return func() {}, nil
		case 'E':
			_, _ = c.Write(append(out, m.Raw...))
			said := fault.As(refusal(m, up.cred))
			said.Silent = true // it has just been told
			return nil, said
		}
		out = append(out, m.Raw...)
	}
}

// fields describes the session for its line in the log.
func (u *serverConn) fields(want wire.Startup) []zap.Field {
	return []zap.Field{
		zap.String("user", u.cred.Username), zap.String("client_user", fault.Clip(want.Get("user"))),
		zap.String("db", fault.Clip(u.database)), zap.String("application_name", fault.Clip(want.Get("application_name"))),
		zap.String("version", u.cred.ShortVersion()), zap.Stringer("upstream", u.tcp.RemoteAddr()),
	}
}
