package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/peer"
	"github.com/credproxy/credproxy/proxy/pool"
	"github.com/credproxy/credproxy/proxy/relay"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
	"github.com/credproxy/credproxy/tracing"
)

// Credentials picks the credential of a login; [secrets.Cache] does.
type Credentials interface {
	Login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error
	// Proven returns one that needs no verdict, or else finds one by prove.
	Proven(ctx context.Context, prove func(context.Context, *secrets.Credential) error) (*secrets.Credential, error)
	// Get returns the credential that Login would offer first.
	Get(ctx context.Context) (*secrets.Credential, error)
	// Status reports whether the database has refused that one.
	Status() secrets.Status
}

// Engine serves the clients of one database, on all its listeners. Fill in the
// exported fields before the first Serve and leave them alone then.
type Engine struct {
	Upstream    *upstream.Dialer
	Credentials Credentials
	Database    string      // for clients that name none; empty: the secret's, else none
	Databases   []string    // the only ones that may be named at login; empty: all
	ClientTLS   *tls.Config // for clients that ask for TLS; nil: it is not offered
	RequireTLS  bool        // TCP clients must use TLS
	NoDatabase  bool        // there is no default database, whatever the secret says
	MariaDB     bool        // what clients take a database for that nobody has reached yet
	Pool        *pool.Pool  // of server sessions, for one client after another; nil: each has its own
	// Servers knows which server of the database clients are to get; nil: the one that answers.
	Servers *topology.Servers

	warnTLS      sync.Once
	lastGreeting atomic.Pointer[wire.Greeting]      // with the id 0, which no connection has
	learning     singleflight.Group                 // of the first one
	refused      atomic.Pointer[secrets.Credential] // the last one refused where no client heard of it
}

// Serve implements [proxy.Engine].
func (e *Engine) Serve(ctx context.Context, s *proxy.Session) (*proxy.Legs, error) {
	_ = s.Client.SetDeadline(s.Deadline())
	c := &client{PacketConn: wire.NewPacketConn(s.Client)}
	c.W = relay.NewWriter(s.Client)
	l := &login{engine: e, session: s, client: c, ctx: ctx}
	if trace := tracing.Of(ctx); trace.On() {
		trace.Text("db.system.name", e.system(e.greeting().Version))
	}
	legs, err := l.begin()
	if errors.Is(err, errPortCheck) && c.want == nil {
		e.explainTLS(s, c)
		s.Quiet()
		return nil, nil
	}
	if err != nil {
		l.tell(err)
	}
	return legs, err
}

// tell sends the client err. Drivers look for another server by the SQLSTATE, for which
// there is room only when the client has answered a greeting.
func (l *login) tell(err error) {
	if !l.client.greeted && isAway(err) {
		_ = l.client.SetDeadline(time.Now().Add(tellTimeout))
		if greetErr := l.receive(l.engine.greeting()); greetErr != nil {
			err = greetErr
		}
	}
	l.client.sendError(err)
}

// explainTLS says once what may be amiss with a client that has read a greeting without
// TLS and left. A check of the port that leaves at once has not read it, and resets.
func (e *Engine) explainTLS(s *proxy.Session, c *client) {
	if c.greeted && e.ClientTLS == nil {
		e.warnTLS.Do(func() {
			s.Log().Info("a client read the greeting and left: a check of the port, or a client that demands TLS, as those of MariaDB 11.4 and newer do with a password, and replicas with SOURCE_SSL=1; " +
				"turn TLS off at such a client (--skip-ssl, SOURCE_SSL=0), or set client_tls (said once)")
		})
	}
}

// begin logs in.
func (l *login) begin() (legs *proxy.Legs, err error) {
	e, s, c := l.engine, l.session, l.client
	if e.RequireTLS && !peer.IsUnix(c) {
		// Who has shown no certificate gets no place among the sessions, and the
		// database hears nothing of it.
		l.learnGreeting()
		if err := l.receive(e.greeting()); err != nil {
			return nil, err
		}
	}
	if err := s.Admit(); err != nil {
		return nil, err
	}
	if e.Pool != nil {
		return l.share()
	}
	if err := l.run(); err != nil {
		return nil, err
	}
	defer l.closeUnless(&legs)
	_ = c.SetWriteDeadline(time.Now().Add(s.LoginTimeout()))
	if err := c.WritePacket(l.up.OK); err != nil {
		return nil, clientError(err)
	}
	c.loggedIn()
	l.traceLogin()
	s.LoggedIn(l.fields()...)
	return l.legs(), nil
}

// legs hands the session over to the relay, until a COM_CHANGE_USER, after which it
// does so again.
func (l *login) legs() *proxy.Legs {
	database := l.up.TCP
	stop := context.AfterFunc(l.ctx, func() { _ = database.Close() })
	fromClient := relay.Leg{Conn: l.client.PacketConn.Conn, Buffered: l.client.Detach(), Scan: new(wire.CommandScanner).Scan, Farewell: l.client.farewell}
	fromDatabase := relay.Leg{Conn: l.up.PacketConn.Conn, Buffered: l.up.Detach()}
	return &proxy.Legs{Client: fromClient, Upstream: fromDatabase, Next: func(withheld []byte) (legs *proxy.Legs, err error) {
		stop()
		defer l.closeUnless(&legs)
		if withheld == nil {
			return nil, nil
		}
		if err := l.answerChangeUser(withheld); err != nil {
			l.client.sendError(err)
			return nil, err
		}
		return l.legs(), nil
	}}
}

// closeUnless closes the connection to the database unless the session goes on.
func (l *login) closeUnless(legs **proxy.Legs) {
	if *legs == nil {
		_ = l.up.TCP.Close()
	}
}
