package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/topology"
)

// secretEvery is how often a database that waits for its secret looks whether the cache
// has it. The cache's refresh has its own backoff and log.
const secretEvery = time.Second

// openAll has databases accept, those that wait for their secret in goroutines of their
// own. It returns when each has tried once: with an error if one cannot accept for what
// the configuration says, or none for what their secrets say.
//
// Those that leave the port to us get it in the order of the configuration, so that
// their ports are the same at every start: first those whose engine is known.
func (d *daemon) openAll(fresh []*database) error {
	var waiting []*database
	var failed error
	for _, db := range fresh {
		if d.mustWait(db) {
			waiting = append(waiting, db)
		} else if err := d.open(db, db.fileConfig.Engine); !db.fileConfig.Found {
			failed = errors.Join(failed, err)
		}
	}
	tried := make([]chan error, len(waiting))
	earlier := make(chan struct{}) // closed when those before have tried
	close(earlier)
	for i, db := range waiting {
		d.answer(db)
		tried[i] = make(chan error, 1)
		before, now := earlier, make(chan struct{})
		earlier = now
		d.running.Go(func() {
			d.openLater(db, before, func(err error) {
				tried[i] <- err
				close(now)
				db.late.Tried()
			})
		})
	}
	if failed != nil {
		return failed
	}
	var all []error
	for _, c := range tried {
		if err := <-c; err != nil {
			all = append(all, err)
		}
	}
	if len(all) < len(fresh) {
		return nil // those that can go on
	}
	return errors.Join(all...)
}

// mustWait reports whether db needs its secret before it can accept: when the secret is
// to name the engine, or when another database serves its clients until then.
func (d *daemon) mustWait(db *database) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return db.cfg.Engine == "" || d.predecessor(db) != nil
}

// answer has clients of db that nobody serves hear why it does not yet.
func (d *daemon) answer(db *database) {
	d.mu.Lock()
	defer d.mu.Unlock()
	db.begun.Store(true)
	if db.desired.Err() != nil {
		return
	}
	for _, ln := range db.listeners {
		if ln.owner == nil || !ln.owner.listening.Load() {
			ln.accept(db)
		}
	}
	d.reconcile()
}

// openLater opens db when its secret says how. It calls tried once: when the first
// attempt is over, with an error if the secret is there and is of no use, or when db is
// no longer desired. Another version of the secret may be of use.
func (d *daemon) openLater(db *database, before <-chan struct{}, tried func(error)) {
	for first := true; ; first = false {
		engine, err := db.engineOfSecret(db.desired)
		if first {
			<-before
		}
		if err == nil {
			err = d.open(db, engine)
		} else if db.desired.Err() == nil && config.IsInvalid(err) {
			d.fail(db, err)
		}
		if first && db.failure.Load() == nil {
			tried(nil) // also while the secret is not there
		} else if first {
			tried(err)
		}
		if err == nil || db.desired.Err() != nil {
			return
		}
		select {
		case <-time.After(secretEvery):
		case <-db.desired.Done():
			return
		}
	}
}

// engineOfSecret returns the engine of the configuration, or that of the secret. The
// error is marked as config.Invalid if the secret is there and names none that will do.
func (db *database) engineOfSecret(ctx context.Context) (config.Engine, error) {
	cred, err := db.cache.Get(ctx)
	switch {
	case err != nil:
		return "", err
	case db.fileConfig.Engine != "":
		return db.fileConfig.Engine, nil
	}
	engine := config.Engine(cred.Endpoint.Engine)
	switch {
	case engine == "":
		return "", config.Invalid(fmt.Errorf("database %s: the secret does not name an engine; set engine in the configuration", db.cfg.Name))
	case db.cfg.Session.Role != "" && engine != config.Postgres:
		return "", config.Invalid(fmt.Errorf("database %s: session.role is for PostgreSQL, and the secret names %s", db.cfg.Name, engine))
	}
	return engine, nil
}

// open has the database accept, in place of the one that it replaces. It does nothing if
// the database is no longer desired, or accepts.
func (d *daemon) open(db *database, engine config.Engine) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	db.begun.Store(true)
	if db.desired.Err() != nil || db.listening.Load() {
		return nil
	}
	db.cfg.Engine = engine
	if len(db.listeners) == 0 {
		if err := d.listenLate(db); err != nil {
			db.cfg.Engine = db.fileConfig.Engine
			d.failLocked(db, err)
			d.listeners.giveUp(db)
			return err
		}
	}
	db.failure.Store(nil)
	serves := d.engines.New(db.cfg, db.upstream, db.cache, db.clientTLS, db.pool, db.servers)
	db.late.Know(serves)
	if old := d.predecessor(db); old != nil {
		db.inheritEmergency(old)
	}
	for _, ln := range db.listeners {
		db.log.Info("listening", zap.String("engine", string(engine)), zap.String("address", ln.Addr().String()), zap.String("upstream", db.upstreamName()))
		db.addrs = append(db.addrs, listenerName(ln))
		if ln.owner != db {
			ln.accept(db)
		}
	}
	db.listening.Store(true)
	db.prober.SetEngine(serves)
	if e, ok := serves.(topology.Engine); ok && db.servers != nil {
		db.servers.SetEngine(e)
	}
	d.reconcile()
	return nil
}

// listenLate opens what a database that was found lists, or systemd has passed for it, and
// the default port of one for which neither is so. Call it with mu held.
func (d *daemon) listenLate(db *database) error {
	if db.fileConfig.Found {
		if err := d.listeners.listen(db.desired, db); err != nil || len(db.listeners) > 0 {
			return err
		}
	}
	db.reserved = d.reservedBefore(db)
	return d.listeners.listenDefault(db.desired, db, d.cfg)
}

// reservedBefore returns how many databases before db in the configuration will want a
// default port when their secret has named their engine, which may be db's. Call it with
// mu held.
func (d *daemon) reservedBefore(db *database) (n int) {
	for _, other := range d.current {
		if other == db {
			break
		}
		if len(other.listeners) == 0 && other.cfg.Engine == "" {
			n++
		}
	}
	return n
}

// fail records why db does not serve its clients, which hear it. The log says so once.
func (d *daemon) fail(db *database, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failLocked(db, err)
}

func (d *daemon) failLocked(db *database, err error) {
	why := err.Error()
	if last := db.failure.Load(); last == nil || *last != why {
		db.log.Error("database does not listen", zap.Error(err))
	}
	db.failure.Store(&why)
}
