package postgres

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/tracing"
)

// flushAt is how much of the session's beginning is gathered into one write, in
// bytes.
const flushAt = 32 << 10

// login logs in at the database for a client, with whichever credential it
// accepts.
func (e *Engine) login(ctx context.Context, s *proxy.Session, c *client, want wire.Startup) (*backend.Conn, error) {
	waiting, stop := proxy.CancelOnClientClose(ctx, c.Conn, c.r)
	defer stop()
	var up *backend.Conn
	began := time.Now()
	err := e.Servers.Login(waiting, s.LoginTimeout(), func(ctx context.Context) error {
		return e.Credentials.Login(ctx, func(ctx context.Context, cred *secrets.Credential) (err error) {
			ctx, cancel := context.WithTimeout(ctx, e.Servers.AttemptTime(began, s.LoginTimeout()))
			defer cancel()
			up, err = e.beginFor(ctx, want, s.Phase, cred)
			return err
		})
	})
	return up, err
}

// beginFor logs in as want, if it may use the database that it wants, or else the default.
func (e *Engine) beginFor(ctx context.Context, want wire.Startup, phase upstream.Phase, cred *secrets.Credential) (*backend.Conn, error) {
	p := e.params(want, phase)
	if err := e.checkDatabase(want, p.DatabaseFor(cred)); err != nil {
		return nil, err
	}
	if e.Servers != nil {
		return e.beginWithRole(ctx, p, want, cred)
	}
	return e.begin(ctx, p, want, cred)
}

// begin logs in with p, and for the default database if there is none of the name that want
// has for want of a better one.
func (e *Engine) begin(ctx context.Context, p backend.Params, want wire.Startup, cred *secrets.Credential) (*backend.Conn, error) {
	up, err := begin(ctx, p, cred)
	if instead := e.databaseInstead(want, cred); instead != "" && backend.IsDatabaseMissing(err) {
		p.Startup = p.Startup.WithDatabase(instead)
		up, err = begin(ctx, p, cred)
	}
	return up, err
}

// begin logs in and waits until the database has let the user in.
func begin(ctx context.Context, p backend.Params, cred *secrets.Credential) (*backend.Conn, error) {
	up, err := backend.Login(ctx, p, cred)
	if err != nil {
		return nil, err
	}
	if err := up.Begin(ctx); err != nil {
		return nil, err
	}
	return up, nil
}

// databaseInstead returns the default database for a client that may have named none: libpq
// sends the user's name then, which is nobody's here. "" is none.
func (e *Engine) databaseInstead(want wire.Startup, cred *secrets.Credential) string {
	name, instead := want.Get("database"), cmp.Or(e.Database, cred.Endpoint.Database)
	if e.NoDatabase || len(e.Databases) > 0 || want.PhysicalReplication() || name == "" || name != want.Get("user") || name == instead {
		return ""
	}
	return instead
}

// params are those of a login as want.
func (e *Engine) params(want wire.Startup, phase upstream.Phase) backend.Params {
	return backend.Params{Dialer: e.Upstream, Startup: want, Database: e.Database, NoDatabase: e.NoDatabase, Role: e.Role, Keys: &e.keys, Phase: phase}
}

// Query runs statements of credproxy's own, as [backend.Query] does. Databases does
// not apply; Role does.
func (e *Engine) Query(ctx context.Context, cred *secrets.Credential, database string, statements ...string) ([][]string, error) {
	p := e.params(wire.Startup{}, nil)
	cred, _, err := e.toServer(ctx, &p, cred)
	if err != nil {
		return nil, err
	}
	return backend.Query(ctx, p, cred, database, statements...)
}

func (e *Engine) checkDatabase(want wire.Startup, database string) error {
	switch {
	case len(e.Databases) == 0:
		return nil
	case want.Replication() && !e.Replication:
		return secrets.MarkNotSent(&fault.Error{Kind: fault.NotAllowed, Message: "replication reads every database and may not be used through this listener",
			Hint: "If it may, set access.replication: true in the configuration of credproxy."})
	case want.PhysicalReplication(), slices.Contains(e.Databases, database):
		return nil
	}
	return fault.ErrDatabase(database)
}

// welcome sends the client what the database says from AuthenticationOk on, up
// to its cancel key, which it replaces. It returns with the function that ends
// the key's life.
func (e *Engine) welcome(c *client, up *backend.Conn) (remove func(), err error) {
	out := up.Preamble
	up.Preamble = nil
	for {
		if len(out) > flushAt || up.Buffered() == 0 && len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return nil, clientError(err)
			}
			out = out[:0]
		}
		m, err := up.ReadMessage()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, err // fault.As knows
			}
			return nil, backend.Broken("waiting for the session to begin", err)
		}
		switch m.Kind() {
		case 'K':
			key, err := wire.ParseKey(m.Body())
			if err != nil {
				return nil, backend.Broken("a cancel key that is not one", err)
			}
			own, remove := e.CancelKeys.add(key, up, e.Upstream)
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
			said := fault.As(backend.Refusal(m, up.Cred))
			said.Silent = true // it has just been told
			return nil, said
		}
		out = append(out, m.Raw...)
	}
}

// loggedIn says for the trace of a login which session it got.
func loggedIn(ctx context.Context, u *backend.Conn) {
	login := tracing.Of(ctx)
	login.Text("credproxy.version_id", u.Cred.ShortVersion())
	login.Text("server.address", u.Host)
	login.Number("server.port", int64(u.Port))
	login.Text("db.namespace", u.Database)
}

// sessionFields describes the session for its line in the log.
func sessionFields(u *backend.Conn, want wire.Startup) []zap.Field {
	return []zap.Field{
		zap.String("user", u.Cred.Username), zap.String("client_user", fault.Clip(want.Get("user"))),
		zap.String("db", fault.Clip(u.Database)), zap.String("application_name", fault.Clip(want.Get("application_name"))),
		zap.String("version", u.Cred.ShortVersion()), zap.Stringer("upstream", u.TCP.RemoteAddr()),
	}
}
