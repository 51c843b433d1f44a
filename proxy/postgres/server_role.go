package postgres

import (
	"context"
	"errors"
	"net"

	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
	"github.com/credproxy/credproxy/tracing"
)

// beginWithRole logs in at a server that has the role which the engine's clients want.
func (e *Engine) beginWithRole(ctx context.Context, p backend.Params, want wire.Startup, cred *secrets.Credential) (*backend.Conn, error) {
	cred, route, err := e.toServer(ctx, &p, cred)
	if err != nil {
		return nil, err
	}
	ctx, cancel := e.Servers.Attempt(ctx, route)
	defer cancel()
	up, err := e.begin(ctx, p, want, cred)
	if err != nil {
		return nil, e.elsewhere(route, err)
	}
	_, span := tracing.Start(ctx, "role check")
	err = e.verify(ctx, up, route)
	if span.End(err); err != nil {
		return nil, err
	}
	return up, nil
}

// verify has up go on only at a server with the role that the engine's clients want. It closes
// up else.
func (e *Engine) verify(ctx context.Context, up *backend.Conn, route topology.Route) error {
	standby, err := up.InRecovery(ctx)
	if err != nil {
		return e.elsewhere(route, err)
	}
	if err := e.Servers.Verify(route, topology.RoleOf(standby), up.TCP.RemoteAddr()); err != nil {
		_ = up.Close()
		return secrets.MarkAccepted(err)
	}
	return nil
}

// toServer has p lead to the server that logins are to use now, and returns what to log in
// with there.
func (e *Engine) toServer(ctx context.Context, p *backend.Params, cred *secrets.Credential) (*secrets.Credential, topology.Route, error) {
	if e.Servers == nil {
		return cred, topology.Route{}, nil
	}
	name, err := e.Name(cred)
	if err != nil {
		return nil, topology.Route{}, err
	}
	route := e.Servers.Route(name, topology.Place{})
	cred, err = e.along(ctx, p, route, cred)
	return cred, route, err
}

// along has p lead along a route, and returns what to log in with at its end.
func (e *Engine) along(ctx context.Context, p *backend.Params, route topology.Route, cred *secrets.Credential) (*secrets.Credential, error) {
	if route.Place == (topology.Place{}) {
		return cred, nil
	}
	p.Dialer = e.Upstream.At(route.Host, route.Port, route.Addr)
	return e.Servers.Credential(ctx, route, cred)
}

// elsewhere marks the error of a login that says of the server that it cannot be used, where
// another may.
func (e *Engine) elsewhere(route topology.Route, err error) error {
	leaving := upstream.CutOff(err)
	if said, ok := errors.AsType[*backend.ServerError](err); ok {
		switch said.Fields.Code {
		case adminShutdown, "57P02", cannotConnectNow: // crash_shutdown is in between
			leaving = true
		}
	}
	return e.Servers.Elsewhere(route, err, leaving)
}

// Name implements [topology.Engine].
func (e *Engine) Name(cred *secrets.Credential) (topology.Place, error) {
	host, port, err := e.Upstream.Target(cred)
	return topology.Place{Host: host, Port: port}, err
}

// Open implements [topology.Engine].
func (e *Engine) Open(ctx context.Context, cred *secrets.Credential, database string, to topology.Route) (topology.Conn, error) {
	p := e.params(backend.OwnStartup(cred, database), nil)
	cred, err := e.along(ctx, &p, to, cred)
	if err != nil {
		return nil, err
	}
	c, err := begin(ctx, p, cred)
	if err != nil {
		return nil, e.elsewhere(to, err)
	}
	return server{c}, nil
}

// server is a session of credproxy's own at a server.
type server struct{ *backend.Conn }

// Role implements [topology.Conn].
func (s server) Role(ctx context.Context) (topology.Role, string, error) {
	return topology.RolePostgres(ctx, s.Conn)
}

// Ask implements [topology.Conn].
func (s server) Ask(ctx context.Context, at topology.Place, hosts ...topology.Place) (topology.Answer, error) {
	return topology.AskPostgres(ctx, s.Conn, at, hosts...)
}

// RemoteAddr implements [topology.Conn].
func (s server) RemoteAddr() net.Addr { return s.TCP.RemoteAddr() }
