package wiring

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
)

// firstBytes is how long a client may take to say something before it is answered as
// one who waits for MySQL's greeting.
const firstBytes = 500 * time.Millisecond

// LateEngine is the engine of a database whose protocol may not be known yet. Clients wait
// for the first look at the secret, which is under way at each start. If it brought
// nothing they hear why.
type LateEngine struct {
	known           atomic.Pointer[Engine] // nil: not yet
	tried           chan struct{}          // closed when the first look is over
	postgres, mysql proxy.Engine           // tell why
	protocol        config.Engine          // that the configuration names; "": the secret will
}

// Late returns an engine of the protocol that the configuration names, "" if the secret will. The
// other arguments are those of Refusal.
func (s *Engines) Late(protocol config.Engine, certificate *ClientTLS, why func() error) *LateEngine {
	return &LateEngine{
		tried:    make(chan struct{}),
		postgres: s.Refusal(config.Postgres, certificate, why),
		mysql:    s.Refusal(config.MySQL, certificate, why),
		protocol: protocol,
	}
}

// Know says which engine it is.
func (l *LateEngine) Know(e Engine) { l.known.Store(&e) }

// Tried says that the first look is over. Call it once.
func (l *LateEngine) Tried() { close(l.tried) }

// Serve implements [proxy.Engine].
func (l *LateEngine) Serve(ctx context.Context, s *proxy.Session) (*proxy.Legs, error) {
	if l.known.Load() == nil {
		select {
		case <-l.tried:
		case <-time.After(s.LoginTimeout() / 2): // the answer needs time too
		case <-ctx.Done():
		}
	}
	if e := l.known.Load(); e != nil {
		return (*e).Serve(ctx, s)
	}
	if l.protocol == config.Postgres || l.protocol == "" && proxy.SpeaksFirst(s.Client, firstBytes) {
		return l.postgres.Serve(ctx, s)
	}
	return l.mysql.Serve(ctx, s)
}
