package daemon

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/wiring"
)

// firstBytes is how long a client may take to say something before it is answered as
// one who waits for MySQL's greeting.
const firstBytes = 500 * time.Millisecond

// lateEngine is the engine of a database whose protocol may not be known yet. Clients wait
// for the first look at the secret, which is under way at each start. If it brought
// nothing they hear why.
type lateEngine struct {
	known           atomic.Pointer[wiring.Engine] // nil: not yet
	tried           chan struct{}                 // closed when the first look is over
	postgres, mysql proxy.Engine                  // tell why
	protocol        config.Engine                 // that the configuration names; "": the secret will
}

func newLateEngine(db *database) *lateEngine {
	return &lateEngine{
		tried:    make(chan struct{}),
		postgres: db.daemon.engines.Refusal(config.Postgres, db.clientTLS, db.notOpen),
		mysql:    db.daemon.engines.Refusal(config.MySQL, db.clientTLS, db.notOpen),
		protocol: db.fileConfig.Engine,
	}
}

// Serve implements [proxy.Engine].
func (l *lateEngine) Serve(ctx context.Context, s *proxy.Session) (*proxy.Legs, error) {
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

// notOpen returns why nobody can be logged in at the database yet.
func (db *database) notOpen() error {
	if why := db.failure.Load(); why != nil {
		return &fault.Error{Kind: fault.SecretProblem, Message: *why}
	}
	if err := db.cache.Status().Err; err != nil {
		return err
	}
	return secrets.Errorf(secrets.Unavailable, "the first answer of the source is awaited")
}
