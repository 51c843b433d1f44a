package mysql

import (
	"github.com/credproxy/credproxy/proxy/mysql/wire"
)

// greeting returns what a client hears without a connection to the database.
func (e *Engine) greeting() wire.Greeting {
	if last := e.lastGreeting.Load(); last != nil {
		return *last
	}
	return wire.Unreached(e.MariaDB)
}

// learnGreeting asks the database for its greeting if none is known: what a client hears
// instead is another server's, for which it could not be logged in. All who come meanwhile
// share one connection, which is the only one that nobody with a certificate stands behind.
func (l *login) learnGreeting() {
	if l.engine.lastGreeting.Load() != nil {
		return
	}
	_, _, _ = l.engine.learning.Do("", func() (any, error) {
		if l.engine.lastGreeting.Load() != nil {
			return nil, nil
		}
		cred, err := l.engine.Credentials.Get(l.ctx) // it may name the host
		if err != nil {
			return nil, err
		}
		if up, err := l.dialWhile(l.ctx, cred); err == nil {
			l.engine.closeCleanly(l.ctx, l.session.Phase, up)
		}
		return nil, err
	})
}

// keepGreeting keeps a greeting for clients who come while the database cannot be asked
// for one, or may not be yet.
func (e *Engine) keepGreeting(g wire.Greeting) {
	g.ID = 0
	e.lastGreeting.Store(&g)
}
