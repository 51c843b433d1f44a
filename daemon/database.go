package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/audit"
	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/logging"
	"github.com/credproxy/credproxy/metrics"
	"github.com/credproxy/credproxy/probe"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/file"
	"github.com/credproxy/credproxy/wiring"
)

// database is one configured database at work: its credentials, its dialer, its server.
type database struct {
	daemon     *daemon
	fileConfig config.Database  // what the configuration says
	cfg        *config.Database // and what the secret adds
	log        *zap.Logger
	observer   *metrics.Database
	cache      *secrets.Cache
	upstream   *upstream.Dialer
	clientTLS  *tls.Config // nil: none
	server     *proxy.Server
	tally      *tally
	prober     *probe.Prober
	listeners  []*listener
	addrs      []string // of the listeners; set before listening
	listening  atomic.Bool
	failure    atomic.Pointer[string] // why it will never listen
	retired    bool                   // accepts no more; daemon.mu guards it
	drainTimer *time.Timer
	terminated chan struct{} // closed when drainTimer has done its work

	// Three lifetimes, ended in this order: while a configuration names the
	// database, its sessions, and what they need (refreshing of its credential).
	desired, sessions, serving  context.Context
	remove, endSessions, cancel context.CancelFunc
	refreshing                  sync.WaitGroup

	emergency       emergency
	emergencySource *file.Source // nil: none
}

// newDatabase makes what needs no secret. Its errors lie in the configuration.
func newDatabase(ctx context.Context, d *daemon, fileConfig config.Database) (_ *database, err error) {
	cfg := &fileConfig
	db := &database{daemon: d, fileConfig: fileConfig, cfg: cfg, log: d.log.With(zap.String("database", cfg.Name))}
	db.serving, db.cancel = context.WithCancel(d.serving)
	db.sessions, db.endSessions = context.WithCancel(db.serving)
	db.desired, db.remove = context.WithCancel(db.serving)
	observer := d.metrics.Database(cfg.Name)
	db.observer, db.tally = observer, newTally(observer)
	db.prober = probe.New(cfg, db.log, observer.Probe)
	defer func() {
		if err != nil {
			db.cancel()
			observer.Release(nil)
		}
	}()
	src, err := wiring.NewSource(ctx, cfg, &d.variables, observer.APICall)
	if err == nil {
		src, err = wiring.WithEvents(ctx, d.queues, cfg, src, observer.APICall)
	}
	if err != nil {
		return nil, err
	}
	audit := audit.New(db.log, wiring.SecretName(cfg.Credentials))
	db.cache = secrets.New(src, secrets.Options{
		Refresh: cfg.Rotation.Refresh, MaxStale: cfg.Rotation.MaxStale, Grace: cfg.Rotation.Grace,
		LoginTimeout: cfg.Limits.LoginTimeout,
		Notify: func(e secrets.Event) {
			observer.Credential(src.Kind(), e)
			db.tally.credential(e)
			db.prober.Event(e)
			audit.Event(e)
		},
	})
	if db.emergencySource, err = wiring.NewEmergency(ctx, cfg); err != nil {
		return nil, err
	}
	if db.upstream, err = wiring.NewUpstream(cfg); err != nil {
		return nil, err
	}
	db.upstream.Log = db.log
	db.upstream.Breaker = upstream.NewBreaker(db.log, observer.DatabaseBreaker)
	observer.DatabaseBreaker(false) // whatever the one said that this replaces
	if cfg.ClientTLS.CertFile != "" {
		if db.clientTLS, err = wiring.NewClientTLS(cfg.ClientTLS); err != nil {
			return nil, err
		}
	}
	access, err := newAccess(ctx, d, cfg)
	if err != nil {
		return nil, err
	}
	db.server = &proxy.Server{
		Log: logging.Sampled(db.log), Observer: probeOnFailure{db.tally, db.prober}, Access: access,
		Limits: proxy.Limits{MaxConnections: cfg.Limits.MaxConnections, LoginTimeout: cfg.Limits.LoginTimeout},
	}
	observer.Observe(db.server, db.cache.Status)
	return db, nil
}

// awaitSecret waits for a credential, and has it name the engine if the
// configuration does not. It gives up when ctx ends or the secret names none.
func (db *database) awaitSecret(ctx context.Context) error {
	for {
		cred, err := db.cache.Get(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && db.cfg.Engine != "":
			return nil
		case err == nil && cred.Endpoint.Engine == "":
			return config.Invalid(fmt.Errorf("database %s: the secret does not name an engine; set engine in the configuration", db.cfg.Name))
		case err == nil:
			db.cfg.Engine = config.Engine(cred.Endpoint.Engine)
			if db.cfg.Session.Role != "" && db.cfg.Engine != config.Postgres {
				return config.Invalid(fmt.Errorf("database %s: session.role is for PostgreSQL, and the secret names %s", db.cfg.Name, db.cfg.Engine))
			}
			return nil
		}
		select { // the cache's refresh has its own backoff and log
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// learnFrom takes over what old has learned that is true of db too: a reload must
// not forget a credential that its source cannot give again just now.
func (db *database) learnFrom(old *database) {
	db.upstream.LearnFrom(old.upstream)
	was, is := old.fileConfig, db.fileConfig
	if !reflect.DeepEqual(was.Credentials, is.Credentials) {
		return
	}
	same := was.Engine == is.Engine && was.Host == is.Host && was.Port == is.Port
	if db.cache.TakeOver(old.cache, same); same && was.TLS == is.TLS {
		db.prober.LearnFrom(old.prober)
	}
}
