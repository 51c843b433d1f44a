package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin/tally"
	"github.com/credproxy/credproxy/audit"
	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/filewatch"
	"github.com/credproxy/credproxy/logging"
	"github.com/credproxy/credproxy/metrics"
	"github.com/credproxy/credproxy/probe"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/pool"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
	"github.com/credproxy/credproxy/secrets/file"
	"github.com/credproxy/credproxy/topology"
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
	clientTLS  *wiring.ClientTLS // nil: none
	files      [sha256.Size]byte // what the files for TLS said when they were read
	server     *proxy.Server
	tally      *tally.Tally
	prober     *probe.Prober
	pool       *pool.Pool        // nil: none
	servers    *topology.Servers // nil: clients may get any
	listeners  []*listener
	reserved   int      // how many default ports are left to databases before it
	addrs      []string // of the listeners; set before listening
	listening  atomic.Bool
	late       *wiring.LateEngine
	begun      atomic.Bool            // it listens, or its clients hear why it does not yet
	failure    atomic.Pointer[string] // why it does not listen; nil: it does, or waits
	retired    atomic.Bool            // accepts no more
	drainTimer *time.Timer
	drainEnd   time.Time     // when it fires
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
func newDatabase(ctx context.Context, d *daemon, fileConfig config.Database, shared *awscfg.Shared) (_ *database, err error) {
	cfg := &fileConfig
	db := &database{daemon: d, fileConfig: fileConfig, cfg: cfg, log: d.log.With(zap.String("database", cfg.Name))}
	db.serving, db.cancel = context.WithCancel(d.serving)
	db.sessions, db.endSessions = context.WithCancel(db.serving)
	db.desired, db.remove = context.WithCancel(db.serving)
	observer := d.metrics.Database(cfg.Name)
	db.observer, db.tally = observer, tally.New(observer)
	db.prober = probe.New(cfg, db.log, observer.Probe)
	db.pool = wiring.NewPool(cfg.Pool, observer.Pool)
	defer func() {
		if err != nil {
			db.cancel()
			db.closePool()
			observer.Release(nil)
		}
	}()
	src, err := wiring.NewSource(ctx, cfg, &d.variables, shared, observer.APICall)
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
			db.tally.Credential(e)
			db.prober.Event(e)
			db.retireSessions(e)
			if e.Kind == secrets.EmergencyEnded {
				db.servers.Reopen()
			}
			audit.Event(e)
		},
	})
	if db.emergencySource, err = wiring.NewEmergency(ctx, cfg); err != nil {
		return nil, err
	}
	db.files, _ = filewatch.Sums{}.Of(wiring.Files(cfg)) // before they are put to use: what changes in between is seen then
	if db.upstream, err = wiring.NewUpstream(cfg); err != nil {
		return nil, err
	}
	db.upstream.Log = db.log
	db.upstream.Breaker = upstream.NewBreaker(db.log, observer.DatabaseBreaker)
	observer.DatabaseBreaker(false) // whatever the one said that this replaces
	if cfg.ClientTLS.CertFile != "" {
		var served *tls.Config
		if served, err = wiring.NewClientTLS(cfg.ClientTLS); err != nil {
			return nil, err
		}
		db.clientTLS = new(wiring.ClientTLS)
		db.clientTLS.Set(served)
	}
	access, err := wiring.NewAccess(ctx, &d.peers, cfg)
	if err != nil {
		return nil, err
	}
	db.servers = db.newServers(src)
	db.late = d.engines.Late(fileConfig.Engine, db.clientTLS, db.notOpen)
	db.server = &proxy.Server{
		Engine: db.late, Log: logging.Sampled(db.log), Observer: probeOnFailure{db.tally, db.prober}, Access: access, Traced: d.traces.For(cfg.Name),
		Limits: proxy.Limits{MaxConnections: cfg.Limits.MaxConnections, LoginTimeout: cfg.Limits.LoginTimeout},
	}
	if db.pool != nil {
		observer.ObservePool(db.pool)
	}
	if db.servers != nil {
		observer.ObserveServers(db.server, db.servers.Status)
	}
	observer.Observe(db.server, db.cache.Status, func() bool { return !db.retired.Load() && db.trouble() == "" })
	return db, nil
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
	if same {
		db.servers.LearnFrom(old.servers)
	}
	if db.cache.TakeOver(old.cache, same); same && was.TLS == is.TLS {
		db.prober.LearnFrom(old.prober)
	}
}
