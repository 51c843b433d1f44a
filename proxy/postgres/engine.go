package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/pool"
	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/relay"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
	"github.com/credproxy/credproxy/tracing"
)

// Credentials picks the credential of a login; [secrets.Cache] does.
type Credentials interface {
	Login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error
}

// Engine serves the clients of one database, on all its listeners. Fill in the
// exported fields before the first Serve and leave them alone then.
type Engine struct {
	Upstream    *upstream.Dialer
	Credentials Credentials
	Database    string      // for clients that name none; empty: the secret's
	Databases   []string    // the only ones allowed; empty: all
	Replication bool        // may be used although Databases are set
	NoDatabase  bool        // there is no default database, whatever the secret says
	Role        string      // to take on at login; empty: none
	ClientTLS   *tls.Config // for clients that ask for TLS; nil: they hear no
	RequireTLS  bool        // TCP clients must use TLS
	CancelKeys  *CancelKeys // of all engines of the process
	// CancelElsewhere hands a cancel request with a key that is not among CancelKeys to whoever may
	// have it, and returns what became of it, as [CancelKeys.Forward] does; nil: there is nobody.
	CancelElsewhere func(ctx context.Context, request []byte) (result string)
	Pool            *pool.Pool // of server sessions, for one client after another; nil: each has its own
	// Servers knows which server of the database clients are to get; nil: the one that answers.
	Servers *topology.Servers

	keys    backend.ScramKeys
	guesses guesses
	warnMD5 sync.Once
}

// NewClientTLS returns cfg as PostgreSQL's clients want it.
func NewClientTLS(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	cfg.MinVersion = tls.VersionTLS12
	cfg.NextProtos = []string{alpn}
	return cfg
}

// Serve implements [proxy.Engine].
func (e *Engine) Serve(ctx context.Context, s *proxy.Session) (legs *proxy.Legs, err error) {
	_ = s.Client.SetDeadline(s.Deadline())
	tracing.Of(ctx).Text("db.system.name", "postgresql")
	_, span := tracing.Start(ctx, "request")
	c, req, err := e.receive(ctx, newClient(s.Client))
	span.End(err)
	switch {
	case errors.Is(err, errPortCheck):
		s.Quiet()
		return nil, nil
	case err == nil && req.cancel != nil:
		if err := s.Allowed(); err != nil {
			return nil, err // a cancel is never answered
		}
		return nil, e.cancel(ctx, s, *req.cancel)
	case err == nil:
		s.Phase("request", s.Accepted, zap.String("client_user", fault.Clip(req.startup.Get("user"))), zap.String("db", fault.Clip(req.startup.Get("database"))))
		legs, err = e.session(ctx, s, c, *req.startup)
	}
	if err != nil {
		c.sendError(err)
	}
	return legs, err
}

// session logs in.
func (e *Engine) session(ctx context.Context, s *proxy.Session, c *client, want wire.Startup) (legs *proxy.Legs, err error) {
	s.Requested(ctx, want.Get("database"), want.Get("application_name"))
	if want.Get("user") == "" {
		return nil, &fault.Error{Kind: fault.NotAllowed, Message: "no PostgreSQL user name specified in startup packet",
			Hint: "Any user name will do: credproxy replaces it."}
	}
	if err := s.Admit(); err != nil {
		return nil, err
	}
	if e.Pool != nil && mayShare(want) {
		return e.share(ctx, s, c, want)
	}
	up, err := e.login(ctx, s, c, want)
	if err != nil {
		return nil, err
	}
	var remove func() // ends the cancel key's life
	tcp := up.TCP
	stop := context.AfterFunc(ctx, func() { _ = tcp.Close() })
	end := func() {
		if remove != nil {
			remove()
		}
		stop()
		_ = tcp.Close()
	}
	defer func() {
		if legs == nil {
			end()
		}
	}()
	deadline := time.Now().Add(s.LoginTimeout())
	_ = c.SetDeadline(deadline)
	_ = up.SetDeadline(deadline)
	if remove, err = e.welcome(c, up); err != nil {
		return nil, err
	}
	loggedIn(ctx, up)
	s.LoggedIn(sessionFields(up, want)...)
	e.warnOfMD5(s, up)
	return &proxy.Legs{Client: c.leg(), Upstream: relay.Leg{Conn: up.Conn, Buffered: up.Detach()}, Next: func([]byte) (*proxy.Legs, error) {
		end()
		return nil, nil
	}}, nil
}

// warnOfMD5 says once that the database authenticates with md5.
func (e *Engine) warnOfMD5(s *proxy.Session, up *backend.Conn) {
	if up.Method != backend.MethodMD5 {
		return
	}
	e.warnMD5.Do(func() {
		s.Log().Warn("the database authenticates with md5, which is weak; set password_encryption to scram-sha-256 and change the password")
	})
}
