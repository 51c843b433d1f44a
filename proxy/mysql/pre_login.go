package mysql

import (
	"context"
	"time"

	"github.com/credproxy/credproxy/proxy/mysql/backend"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// clientPatience is how long a client may take to answer the greeting before the
// database's connection is brought to an end in order. Servers wait for
// connect_timeout, 10 s unless set, and at least 2 s, and then count an interrupted
// handshake against the host.
const clientPatience = 1500 * time.Millisecond

// preLogin is a connection on which only the database's greeting has been read. It
// is brought to an end in order if nobody goes on with it in time.
type preLogin struct {
	up       *backend.PreLoginConn
	patience *time.Timer
	closed   chan struct{}
}

func (l *login) bePatient(up *backend.PreLoginConn) *preLogin {
	g := &preLogin{up: up, closed: make(chan struct{})}
	g.patience = time.AfterFunc(clientPatience, func() {
		defer close(g.closed)
		l.engine.closeCleanly(l.ctx, l.session.Phase, up)
	})
	return g
}

// take returns the connection, or nil if it has been brought to an end.
func (g *preLogin) take() *backend.PreLoginConn {
	if g.patience.Stop() {
		return g.up
	}
	<-g.closed
	return nil
}

// release ends the greeted connection if no attempt went on with it.
func (l *login) release() {
	if l.preLogin == nil {
		return
	}
	if up := l.preLogin.take(); up != nil {
		l.engine.closeCleanly(l.ctx, l.session.Phase, up)
	}
}

// introduce greets the client and returns when it has answered. If the client
// left, or may not go on, the connection is brought to an end in order.
func (l *login) introduce(up *backend.PreLoginConn) (*preLogin, error) {
	greeting, cred := up.Greeting(), up.Cred() // up is not ours alone from here on
	g := l.bePatient(up)
	err := l.receive(greeting)
	if err == nil {
		p := l.params()
		err = l.engine.checkDatabase(p.DatabaseFor(cred))
	}
	if err != nil {
		if up := g.take(); up != nil {
			l.engine.closeCleanly(l.ctx, l.session.Phase, up)
		}
		return nil, err
	}
	return g, nil
}

// closeCleanly ends a connection on which only the greeting has been read. Unless the
// database has accepted the credential, it does so in the name of nobody, because failed
// logins may lock the user's account.
func (e *Engine) closeCleanly(ctx context.Context, phase upstream.Phase, up *backend.PreLoginConn) {
	cred, status := up.Cred(), e.Credentials.Status()
	if !status.Accepted || status.Preferred != cred || e.isRefused(cred) {
		_ = up.CloseCleanly(ctx, e.params(phase), nil)
		return
	}
	if err := up.CloseCleanly(ctx, e.params(phase), cred); secrets.IsRejected(err) {
		e.refused.Store(cred)
	}
}

// isRefused reports whether the database refused cred lately, as far as is known.
func (e *Engine) isRefused(cred *secrets.Credential) bool {
	if e.refused.Load() == cred {
		return true
	}
	status := e.Credentials.Status()
	return status.Refused && status.Preferred == cred
}
