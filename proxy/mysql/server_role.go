package mysql

import (
	"context"
	"errors"
	"net"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/mysql/backend"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
	"github.com/credproxy/credproxy/tracing"
)

// toServer has p lead to the server that a login is to use, near if that is one of several, and
// returns what to log in with there.
func (e *Engine) toServer(ctx context.Context, p *backend.Params, near topology.Place, cred *secrets.Credential) (*secrets.Credential, topology.Route, error) {
	if e.Servers == nil {
		return cred, topology.Route{}, nil
	}
	name, err := e.Name(cred)
	if err != nil {
		return nil, topology.Route{}, err
	}
	route := e.Servers.Route(name, near)
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

// verify has up, a session with the flags of a client that has just begun at the end of the
// route, go on only at a server with the role that the engine's clients want. It closes up
// else.
func (e *Engine) verify(ctx context.Context, up *backend.Conn, flags uint32, route topology.Route) (err error) {
	if e.Servers == nil {
		return nil
	}
	_, span := tracing.Start(ctx, "role check")
	defer func() { span.End(err) }()
	readOnly, err := up.IsReadOnly(ctx, flags, e.Servers.Wanted(route) == topology.Reader)
	if err != nil {
		return e.elsewhere(route, err)
	}
	if err := e.Servers.Verify(route, topology.RoleOf(readOnly), up.TCP.RemoteAddr()); err != nil {
		_ = up.Close()
		return secrets.MarkAccepted(err)
	}
	return nil
}

// elsewhere marks the error of a login that says of the server that it cannot be used, where
// another may.
func (e *Engine) elsewhere(route topology.Route, err error) error {
	if err == nil {
		return nil
	}
	leaving := upstream.CutOff(err)
	if said, ok := errors.AsType[*wire.ServerError](err); ok {
		switch said.Code {
		case mysql.ER_SERVER_SHUTDOWN, mysql.ER_NORMAL_SHUTDOWN, serverOfflineMode:
			leaving = true
		}
	}
	return e.Servers.Elsewhere(route, err, leaving)
}

// serverOfflineMode is ER_SERVER_OFFLINE_MODE, of a MySQL that lets only administrators in.
const serverOfflineMode = 3032

// Name implements [topology.Engine].
func (e *Engine) Name(cred *secrets.Credential) (topology.Place, error) {
	host, port, err := e.Upstream.Target(cred)
	return topology.Place{Host: host, Port: port}, err
}

// Open implements [topology.Engine].
func (e *Engine) Open(ctx context.Context, cred *secrets.Credential, database string, to topology.Route) (topology.Conn, error) {
	p := e.params(nil)
	p.Greeted = nil // clients are not for such a server yet
	if database != "" {
		p.Database, p.NoDatabase = database, false
	}
	cred, err := e.along(ctx, &p, to, cred)
	if err != nil {
		return nil, err
	}
	c, err := backend.Login(ctx, p, cred)
	if err != nil {
		return nil, e.elsewhere(to, err)
	}
	return server{c}, nil
}

// server is a session of credproxy's own at a server.
type server struct{ *backend.Conn }

// Role implements [topology.Conn].
func (s server) Role(ctx context.Context) (topology.Role, string, error) {
	return topology.RoleMySQL(ctx, s.Conn)
}

// Ask implements [topology.Conn].
func (s server) Ask(ctx context.Context, at topology.Place, hosts ...topology.Place) (topology.Answer, error) {
	return topology.AskMySQL(ctx, s.Conn, at, hosts...)
}

// RemoteAddr implements [topology.Conn].
func (s server) RemoteAddr() net.Addr { return s.TCP.RemoteAddr() }
