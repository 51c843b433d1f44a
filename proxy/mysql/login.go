package mysql

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/backend"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/pool"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
	"github.com/credproxy/credproxy/tracing"
)

// login is one client's login, over as many attempts as it takes.
type login struct {
	engine   *Engine
	session  *proxy.Session
	client   *client
	ctx      context.Context // the session's
	preLogin *preLogin       // what the first attempt goes on with
	up       *backend.Conn   // the one logged in on

	change    *wire.ChangeUser // the COM_CHANGE_USER that is being answered; nil: none
	noDefault bool             // the default database does not exist

	lease  *pool.Lease // of a server session; nil: nothing is shared
	shared *pooled     // that session, once there is one
	misled *pool.Lease // of the session whose id the client was told, and which is not the one it has
}

// run greets the client and logs in with whichever credential the database accepts.
func (l *login) run() error {
	if l.client.want == nil {
		if err := l.introduceFirst(); err != nil {
			return err
		}
		defer l.release()
	}
	return l.search(l.attempt)
}

// introduceFirst greets the client with what the database says, and reads its answer. The
// client is greeted before any login, because while a login tries a credential others may
// wait for its verdict, and they must not wait for a slow client. While the database refuses
// the credential, or cannot be reached, the client hears an earlier greeting: a connection
// that nobody goes on with would have to be ended with one more failed login.
func (l *login) introduceFirst() error {
	cred, err := l.engine.Credentials.Get(l.ctx) // it may name the host
	if err != nil {
		return err
	}
	last := l.engine.lastGreeting.Load()
	if last != nil && l.engine.isRefused(cred) {
		return l.receive(*last)
	}
	up, err := l.dial(cred)
	if secrets.IsWrongEndpoint(err) {
		if last != nil {
			return l.receive(*last)
		}
		up, err = l.dialElsewhere()
	}
	if err != nil {
		return err
	}
	l.preLogin, err = l.introduce(up)
	return err
}

// errDialled ends a search that has found a database, and has offered it nothing.
var errDialled = secrets.MarkNotSent(errors.New("dialled"))

// dialElsewhere dials where the secret leads to by now.
func (l *login) dialElsewhere() (up *backend.PreLoginConn, err error) {
	err = l.engine.Credentials.Login(l.ctx, func(_ context.Context, cred *secrets.Credential) error {
		var err error
		if up, err = l.dial(cred); err != nil {
			return err
		}
		return errDialled
	})
	if up != nil {
		return up, nil
	}
	return nil, err
}

// search tries credentials until the client leaves. An attempt that has begun is
// brought to its end all the same.
func (l *login) search(try func(context.Context, *secrets.Credential) error) error {
	waiting, stop := proxy.CancelOnClientClose(l.ctx, l.client.Conn, l.client.R)
	defer stop()
	began := time.Now()
	return l.engine.Servers.Login(waiting, l.session.LoginTimeout(), func(during context.Context) error {
		return l.engine.Credentials.Login(during, func(_ context.Context, cred *secrets.Credential) error {
			ctx, cancel := l.outlive(waiting, during, began)
			defer cancel()
			return try(ctx, cred)
		})
	})
}

// outlive returns the context of an attempt that has its time whether or not the client still
// waits, which waiting tells, of a search that began at the time given. It ends before that with during: another server has taken over.
func (l *login) outlive(waiting, during context.Context, began time.Time) (context.Context, context.CancelFunc) {
	if l.engine.Servers == nil {
		return context.WithTimeout(l.ctx, l.session.LoginTimeout())
	}
	ctx, expire := context.WithTimeout(l.ctx, l.engine.Servers.AttemptTime(began, l.session.LoginTimeout()))
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(during, func() {
		if waiting.Err() == nil {
			cancel(context.Cause(during))
		}
	})
	return ctx, func() {
		stop()
		cancel(nil)
		expire()
	}
}

// each gives each try its time, whether or not the client still waits for it.
func (l *login) each(try func(context.Context, *secrets.Credential) error) func(context.Context, *secrets.Credential) error {
	return func(_ context.Context, cred *secrets.Credential) error {
		ctx, cancel := context.WithTimeout(l.ctx, l.session.LoginTimeout())
		defer cancel()
		return try(ctx, cred)
	}
}

// dial dials before a login, whose time begins when there is a server to dial. Who leaves
// meanwhile waits no longer for one.
func (l *login) dial(cred *secrets.Credential) (up *backend.PreLoginConn, err error) {
	if l.engine.Servers == nil {
		return l.dialWhile(l.ctx, cred)
	}
	waiting, stop := proxy.CancelOnClientClose(l.ctx, l.client.Conn, l.client.R)
	defer func() {
		stop()
		_ = l.client.SetReadDeadline(l.session.Deadline()) // as it was
	}()
	return l.dialWhile(waiting, cred)
}

// dialWhile dials before a login that somebody waits for until waiting ends.
func (l *login) dialWhile(waiting context.Context, cred *secrets.Credential) (up *backend.PreLoginConn, err error) {
	began := time.Now()
	err = l.engine.Servers.Login(waiting, l.session.LoginTimeout(), func(during context.Context) error {
		ctx, cancel := l.outlive(waiting, during, began)
		defer cancel()
		up, err = l.engine.dial(ctx, l.session.Phase, cred)
		return err
	})
	return up, err
}

// attempt makes one attempt, the first on the connection that the client was
// greeted from if that is still there.
func (l *login) attempt(ctx context.Context, cred *secrets.Credential) error {
	p := l.params()
	var near topology.Place // where the client was greeted from
	if l.preLogin != nil {
		near.Host, near.Port = l.preLogin.up.Place()
	}
	there, route, err := l.engine.toServer(ctx, &p, near, cred)
	if err != nil {
		return err
	}
	whole := ctx
	ctx, cancel := l.engine.Servers.Attempt(ctx, route)
	defer cancel()
	checked := l.engine.checkDatabase(p.DatabaseFor(cred))
	var up *backend.PreLoginConn
	if l.preLogin != nil {
		if up = l.preLogin.take(); up != nil && (checked != nil || !up.LeadsTo(p.Dialer, there)) {
			l.engine.closeCleanly(ctx, l.session.Phase, up)
			up = nil
		}
		l.preLogin = nil
	}
	if checked != nil {
		return checked
	}
	began := time.Now()
	if up == nil {
		if up, err = backend.Dial(ctx, p, there); err != nil {
			return l.engine.elsewhere(route, err)
		}
	}
	if what := l.client.told.Differs(up.Greeting(), *l.client.want); what != "" {
		l.engine.closeCleanly(ctx, l.session.Phase, up)
		return errMoved(what)
	}
	conn, err := up.Login(ctx, p, there, began)
	if l.lacksDefault(err) {
		return l.attempt(whole, cred)
	}
	if err != nil {
		return l.engine.elsewhere(route, err)
	}
	if err := l.engine.verify(ctx, conn, l.client.want.Capabilities, route); err != nil {
		return err
	}
	if l.change != nil && l.change.Charset[1] != 0 {
		// A handshake response has one byte for the character set.
		if err := conn.ChangeUser(ctx, p, *l.change, there); err != nil {
			_ = conn.TCP.Close()
			return l.engine.elsewhere(route, err)
		}
	}
	l.engine.refused.CompareAndSwap(cred, nil)
	l.up = conn
	return nil
}

// errMoved ends the login of a client that was greeted for another database.
func errMoved(what string) error {
	return secrets.MarkNotSent(&fault.Error{Kind: fault.Moved,
		Message: "the database is not the one that this client was greeted for: " + what, Hint: "Connect again."})
}

// lacksDefault reports whether a login failed for a default database that does not exist.
// It remembers it: a client that named none then gets a session without one, as directly,
// unless access.databases is set.
func (l *login) lacksDefault(err error) bool {
	said, ok := errors.AsType[*wire.ServerError](err)
	if !ok || said.Code != mysql.ER_BAD_DB_ERROR || l.noDefault || l.client.want.Database != "" || l.engine.checkDatabase("") != nil {
		return false
	}
	l.noDefault = true
	l.session.Log().Warn("the default database does not exist: the session begins without one; create it, or set database to another, or to none", zap.Error(said))
	return true
}

// params are those of a login for the client, once it has answered the greeting.
func (l *login) params() backend.Params {
	p := l.engine.params(l.session.Phase)
	p.Response = l.client.want
	p.NoDatabase = p.NoDatabase || l.noDefault
	return p
}

func (e *Engine) params(phase upstream.Phase) backend.Params {
	return backend.Params{Dialer: e.Upstream, Database: e.Database, NoDatabase: e.NoDatabase, Phase: phase, Greeted: e.keepGreeting}
}

func (e *Engine) dial(ctx context.Context, phase upstream.Phase, cred *secrets.Credential) (*backend.PreLoginConn, error) {
	p := e.params(phase)
	cred, route, err := e.toServer(ctx, &p, topology.Place{}, cred)
	if err != nil {
		return nil, err
	}
	ctx, cancel := e.Servers.Attempt(ctx, route)
	defer cancel()
	up, err := backend.Dial(ctx, p, cred)
	return up, e.elsewhere(route, err)
}

// Query runs statements of credproxy's own, as [backend.Query] does. Databases does not
// apply.
func (e *Engine) Query(ctx context.Context, cred *secrets.Credential, database string, statements ...string) (rows [][]string, err error) {
	p := e.params(nil)
	there, _, err := e.toServer(ctx, &p, topology.Place{}, cred)
	if err != nil {
		return nil, err
	}
	rows, err = backend.Query(ctx, p, there, database, statements...)
	if _, said := errors.AsType[*fault.SQLError](err); err == nil || said {
		e.refused.CompareAndSwap(cred, nil)
	}
	return rows, err
}

// receive greets the client and reads its answer.
func (l *login) receive(g wire.Greeting) error {
	if err := l.client.greet(g, l.engine.ClientTLS != nil); err != nil {
		return err
	}
	_, span := tracing.Start(l.ctx, "request")
	err := l.engine.receive(l.ctx, l.client)
	if span.End(err); err != nil {
		return err
	}
	if trace := tracing.Of(l.ctx); trace.On() {
		trace.Text("db.system.name", l.engine.system(l.client.told.Version))
		l.session.Requested(l.ctx, l.client.want.Database, wire.Attribute(l.client.want.Attributes, "traceparent"))
	}
	l.session.Phase("request", l.session.Accepted, zap.String("client_user", fault.Clip(l.client.want.User)), zap.String("db", fault.Clip(l.client.want.Database)))
	return nil
}

// system names the database's engine as traces have it, after the version that it greets with.
func (e *Engine) system(version string) string {
	if e.MariaDB || wire.IsMariaDB(version) {
		return "mariadb"
	}
	return "mysql"
}

// traceLogin says for the trace of the login which session it got.
func (l *login) traceLogin() {
	trace := tracing.Of(l.ctx)
	if !trace.On() {
		return
	}
	trace.Text("credproxy.version_id", l.up.Cred.ShortVersion())
	trace.Text("server.address", l.up.Host)
	trace.Number("server.port", int64(l.up.Port))
	p := l.params()
	trace.Text("db.namespace", p.DatabaseFor(l.up.Cred))
}

// checkDatabase holds the database that a login is for against those allowed. What a
// client does with USE later is for the database's own grants.
func (e *Engine) checkDatabase(name string) error {
	if len(e.Databases) == 0 || slices.Contains(e.Databases, name) {
		return nil
	}
	return fault.ErrDatabase(name)
}

// fields describes the session for its line in the log.
func (l *login) fields() []zap.Field {
	f := []zap.Field{
		zap.String("user", l.up.Cred.Username), zap.String("client_user", fault.Clip(l.client.want.User)),
		zap.String("db", fault.Clip(l.client.want.Database)), zap.String("version", l.up.Cred.ShortVersion()),
		zap.Stringer("upstream", l.up.TCP.RemoteAddr()), zap.Uint32("connection_id", l.up.Greeting.ID),
	}
	if told := l.client.told.ID; told != l.up.Greeting.ID {
		// A second attempt has another id. Servers never reuse ids, so the one
		// that the client knows names nothing.
		f = append(f, zap.Uint32("connection_id_told", told))
	}
	return f
}
