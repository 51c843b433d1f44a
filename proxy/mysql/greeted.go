package mysql

import (
	"context"
	"time"

	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// clientPatience is how long a client may take to answer the greeting before the
// database's connection is brought to an end in order. Servers wait for
// connect_timeout, 10 s unless set, and at least 2 s, and then count an interrupted
// handshake against the host.
const clientPatience = 1500 * time.Millisecond

// abandonTimeout bounds the end in order.
const abandonTimeout = 5 * time.Second

// greeted is a connection on which only the database's greeting has been read. It
// is brought to an end in order if nobody goes on with it in time.
type greeted struct {
	up        *serverConn
	patience  *time.Timer
	abandoned chan struct{}
}

func (l *login) hold(up *serverConn) *greeted {
	g := &greeted{up: up, abandoned: make(chan struct{})}
	g.patience = time.AfterFunc(clientPatience, func() {
		defer close(g.abandoned)
		l.engine.abandon(l.ctx, l.session.Phase, up)
	})
	return g
}

// take returns the connection, or nil if it has been brought to an end.
func (g *greeted) take() *serverConn {
	if g.patience.Stop() {
		return g.up
	}
	<-g.abandoned
	return nil
}

// release ends the greeted connection if no attempt went on with it.
func (l *login) release() {
	if l.greeted == nil {
		return
	}
	if up := l.greeted.take(); up != nil {
		l.engine.abandon(l.ctx, l.session.Phase, up)
	}
}

// introduce greets the client and returns when it has answered. If the client
// left, or may not go on, the connection is brought to an end in order.
func (l *login) introduce(up *serverConn) (*greeted, error) {
	greeting, cred := up.greeting, up.cred // up is not ours alone from here on
	g := l.hold(up)
	if err := l.receive(greeting, cred); err != nil {
		if up := g.take(); up != nil {
			l.engine.abandon(l.ctx, l.session.Phase, up)
		}
		return nil, err
	}
	return g, nil
}

// abandon ends a connection on which only the greeting has been read: it logs in
// for nobody and says good-bye, so that the database counts no interrupted
// handshake. Unless the database has accepted the credential, it does so in the name
// of nobody, because failed logins may lock the user's account.
func (e *Engine) abandon(ctx context.Context, phase upstream.Phase, up *serverConn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	cred, status := up.cred, e.Credentials.Status()
	known := status.Accepted && status.First == cred && !e.isRefused(cred)
	if !known {
		up.cred = nobody()
	}
	err := e.logInto(ctx, phase, up, ownResponse(0))
	switch {
	case err == nil:
		up.quit()
	case known && secrets.IsRejected(err):
		e.refused.Store(cred)
	}
}

// nobody is who a handshake is brought to its end for that has become pointless: the
// database would count it against this host if it were broken off, and lock it out
// after max_connect_errors of them. It locks no account that anybody has.
func nobody() *secrets.Credential { return secrets.NewCredential("credproxy-nobody", "") }

// isRefused tells whether the database refused cred lately, as far as is known.
func (e *Engine) isRefused(cred *secrets.Credential) bool {
	if e.refused.Load() == cred {
		return true
	}
	status := e.Credentials.Status()
	return status.Refused && status.First == cred
}

// keepGreeting keeps what a client hears while the database refuses the
// credential.
func (e *Engine) keepGreeting(g greeting) {
	g.id = 0
	e.lastGreeting.Store(&g)
}
