package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// serverConn is a connection to the database.
type serverConn struct {
	*packetConn          // inside TLS, unless the mode is disable
	tcp         net.Conn // below it
	host        string   // as dialled
	port        int
	greeting    greeting
	encrypted   bool
	cred        *secrets.Credential
	began       time.Time // the attempt
	ok          []byte    // the database's OK
}

// login is one client's login, over as many attempts as it takes.
type login struct {
	engine  *Engine
	session *proxy.Session
	client  *client
	ctx     context.Context // the session's
	greeted *greeted        // what the first attempt goes on with
	up      *serverConn     // the one logged in on
}

// run greets the client and logs in with whichever credential the database
// accepts. The client is greeted first, because while a login tries a credential
// others may wait for its verdict, and they must not wait for a slow client. While
// the database refuses the credential, or cannot be reached, the client hears an
// earlier greeting: a connection that nobody goes on with would have to be ended with
// one more failed login.
func (l *login) run() error {
	cred, err := l.engine.Credentials.Get(l.ctx) // it may name the host
	if err != nil {
		return err
	}
	last := l.engine.lastGreeting.Load()
	if last != nil && l.engine.isRefused(cred) {
		return l.searchGreeted(*last, cred)
	}
	up, err := l.dial(cred)
	if secrets.IsUnreached(err) {
		if last != nil {
			return l.searchGreeted(*last, cred)
		}
		up, err = l.dialElsewhere()
	}
	if err != nil {
		return err
	}
	if l.greeted, err = l.introduce(up); err != nil {
		return err
	}
	defer l.release()
	return l.search(l.attempt)
}

// searchGreeted is search for a client who hears an earlier greeting.
func (l *login) searchGreeted(g greeting, cred *secrets.Credential) error {
	if err := l.receive(g, cred); err != nil {
		return err
	}
	return l.search(l.attempt)
}

// errDialled ends a search that has found a database, and has offered it nothing.
var errDialled = secrets.Unoffered(errors.New("dialled"))

// dialElsewhere dials where the secret leads to by now.
func (l *login) dialElsewhere() (up *serverConn, err error) {
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
	waiting, stop := proxy.CancelOnClientClose(l.ctx, l.client.Conn, l.client.r)
	defer stop()
	return l.engine.Credentials.Login(waiting, func(_ context.Context, cred *secrets.Credential) error {
		ctx, cancel := context.WithTimeout(l.ctx, l.session.LoginTimeout())
		defer cancel()
		return try(ctx, cred)
	})
}

func (l *login) dial(cred *secrets.Credential) (*serverConn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.session.LoginTimeout())
	defer cancel()
	return l.engine.dial(ctx, l.session.Phase, cred)
}

// attempt makes one attempt, the first on the connection that the client was
// greeted from if that is still there.
func (l *login) attempt(ctx context.Context, cred *secrets.Credential) (err error) {
	began := time.Now()
	var up *serverConn
	if l.greeted != nil {
		if up = l.greeted.take(); up != nil && !l.engine.leadsTo(up, cred) {
			l.engine.abandon(ctx, l.session.Phase, up)
			up = nil
		}
		l.greeted = nil
	}
	if up == nil {
		if up, err = l.engine.dial(ctx, l.session.Phase, cred); err != nil {
			return err
		}
	}
	up.cred, up.began = cred, began
	if err := l.engine.logIn(ctx, l.session.Phase, up, *l.client.want); err != nil {
		return err
	}
	l.engine.refused.CompareAndSwap(cred, nil)
	l.up = up
	return nil
}

// leadsTo tells whether up is connected to where cred says that its database is.
func (e *Engine) leadsTo(up *serverConn, cred *secrets.Credential) bool {
	host, port, err := e.Upstream.Target(cred)
	return err == nil && host == up.host && port == up.port
}

// receive greets the client and reads its answer.
func (l *login) receive(g greeting, cred *secrets.Credential) error {
	if err := l.client.greet(g, l.engine.ClientTLS != nil); err != nil {
		return err
	}
	if err := l.engine.receive(l.ctx, l.client); err != nil {
		return err
	}
	l.session.Phase("request", l.session.Accepted, zap.String("client_user", fault.Clip(l.client.want.user)), zap.String("db", fault.Clip(l.client.want.database)))
	return l.engine.checkDatabase(l.client.want.database, cred)
}

// protection tells for the log what protects the link.
func (u *serverConn) protection() []zap.Field {
	tc, ok := u.Conn.(*tls.Conn)
	if !ok {
		return upstream.DescribeTLS(nil)
	}
	state := tc.ConnectionState()
	return upstream.DescribeTLS(&state)
}

// quit ends a connection in order.
func (u *serverConn) quit() {
	u.seq = 0
	_ = u.write([]byte{mysql.COM_QUIT})
	_ = u.tcp.Close()
}

// dial connects and reads the greeting. A database that has something against us
// says so in its place.
func (e *Engine) dial(ctx context.Context, phase upstream.Phase, cred *secrets.Credential) (*serverConn, error) {
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
	up := &serverConn{packetConn: newPacketConn(conn), tcp: conn, host: host, port: port, cred: cred, began: start}
	stop := upstream.BreakOff(ctx, conn)
	defer stop()
	payload, err := up.read()
	switch {
	case err != nil:
		err = broken("waiting for the greeting", err)
	case len(payload) > 0 && payload[0] == mysql.ERR_HEADER:
		err = refusal(payload, cred)
	default:
		if up.greeting, err = parseGreeting(payload); err != nil {
			err = broken("the greeting", err)
		}
	}
	if err != nil {
		return nil, up.fail(ctx, err)
	}
	e.keepGreeting(up.greeting)
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

// logIn logs in on a connection whose greeting has been read, as want.
func (e *Engine) logIn(ctx context.Context, phase upstream.Phase, up *serverConn, want response) error {
	if err := e.checkDatabase(want.database, up.cred); err != nil {
		e.abandon(ctx, phase, up)
		return err
	}
	if want.database == "" {
		want.database = e.databaseFor(up.cred)
	}
	return e.logInto(ctx, phase, up, want)
}

func (e *Engine) logInto(ctx context.Context, phase upstream.Phase, up *serverConn, want response) error {
	stop := upstream.BreakOff(ctx, up.tcp)
	defer stop()
	auth := e.authenticator(up)
	auth.begin(up.greeting.plugin, up.greeting.salt)
	want = want.forServer(up.greeting.caps, up.cred.Username, want.database, auth.plugin, e.Upstream.Mode != upstream.Disable)
	start := time.Now()
	if err := e.encrypt(ctx, up, want); err != nil {
		return up.fail(ctx, err)
	}
	auth.link = e.Upstream.Link(up.Conn)
	phase("tls", start, up.protection()...)
	start = time.Now()
	if overtaken := up.cred.Overtaken(up.began); overtaken != nil {
		auth.cred = nobody()
		want.user = auth.cred.Username
		want.auth, _ = auth.scramble() // of no password
		_ = up.write(want.encode())
		_, _ = auth.run(up.packetConn)
		return up.fail(ctx, overtaken)
	}
	var err error
	if want.auth, err = auth.scramble(); err != nil {
		return up.fail(ctx, err)
	}
	if err := up.write(want.encode()); err != nil {
		return up.fail(ctx, broken("sending the handshake response", err))
	}
	ok, err := auth.run(up.packetConn)
	if err != nil {
		return up.fail(ctx, err)
	}
	up.ok = ok
	phase("auth", start, zap.String("method", auth.plugin), zap.String("user", up.cred.Username), zap.String("version", up.cred.ShortVersion()))
	return nil
}

func (e *Engine) authenticator(up *serverConn) *authenticator {
	return &authenticator{cred: up.cred, link: e.Upstream.Link(up.Conn)}
}

// encrypt starts TLS, unless the mode is disable. The request carries the
// client's flags, because MySQL takes them from here and not from the response.
func (e *Engine) encrypt(ctx context.Context, up *serverConn, want response) error {
	if e.Upstream.Mode == upstream.Disable {
		return nil
	}
	if up.greeting.caps&mysql.CLIENT_SSL == 0 {
		return &fault.Error{Kind: fault.UpstreamTLS, Message: "the database does not offer TLS; nothing was sent to it",
			Hint: "Turn on TLS at the database. On RDS it always is: check host and port."}
	}
	if up.r.Buffered() > 0 {
		return broken("bytes after the greeting", nil)
	}
	if err := up.write(want.head()); err != nil {
		return broken("asking for TLS", err)
	}
	tc, err := e.Upstream.Handshake(ctx, up.tcp, up.host)
	if err != nil {
		return err
	}
	up.packetConn = up.over(tc)
	up.encrypted = true
	return nil
}

// databaseFor is the database for clients that name none: the configuration's,
// else the secret's, else none.
func (e *Engine) databaseFor(cred *secrets.Credential) string {
	if e.Database != "" {
		return e.Database
	}
	return cred.Endpoint.Database
}

// checkDatabase holds the database that a client names at login against those
// allowed. What a client does with USE later is for the database's own grants.
func (e *Engine) checkDatabase(named string, cred *secrets.Credential) error {
	if named == "" {
		named = e.databaseFor(cred)
	}
	if len(e.Databases) == 0 || slices.Contains(e.Databases, named) {
		return nil
	}
	return fault.ErrDatabase(named)
}

// fields describes the session for its line in the log.
func (l *login) fields() []zap.Field {
	f := []zap.Field{
		zap.String("user", l.up.cred.Username), zap.String("client_user", fault.Clip(l.client.want.user)),
		zap.String("db", fault.Clip(l.client.want.database)), zap.String("version", l.up.cred.ShortVersion()),
		zap.Stringer("upstream", l.up.tcp.RemoteAddr()), zap.Uint32("connection_id", l.up.greeting.id),
	}
	if told := l.client.told.id; told != l.up.greeting.id {
		// A second attempt has another id. Servers never reuse ids, so the one
		// that the client knows names nothing.
		f = append(f, zap.Uint32("connection_id_told", told))
	}
	return f
}
