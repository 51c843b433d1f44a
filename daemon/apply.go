package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/wiring"
)

// apply makes cfg the configuration. It starts the databases that are new, keeps those
// that are unchanged, replaces those that changed, and removes those that cfg does not
// name. If it returns an error nothing has changed.
//
// opened is called when all accept, with an error that says why some do not. That takes
// a while if a secret has to name the engine.
func (d *daemon) apply(ctx context.Context, cfg *config.Config, opened func(error)) error {
	all, fresh, err := d.prepare(ctx, cfg)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, db := range fresh {
		if err := d.listeners.listen(ctx, db); err != nil {
			discard(fresh)
			d.closeUnused()
			return err
		}
	}
	d.cfg, d.current = cfg, all
	for _, db := range fresh {
		db.log.Info("database", zap.String("engine", string(db.cfg.Engine)), zap.String("upstream", db.upstreamName()),
			zap.String("secret", wiring.SecretName(db.cfg.Credentials)), zap.String("tls", string(db.cfg.TLS.Mode)))
		for old := range d.alive {
			if old.precedes(db) {
				db.learnFrom(old)
			}
		}
		d.alive[db] = true
		db.refreshing.Go(func() { db.cache.Run(db.serving); db.cache.Close() })
		db.refreshing.Go(func() { db.prober.Run(db.desired, db.cache) })
	}
	d.reconcile()
	d.running.Go(func() { opened(d.openAll(fresh)) })
	return nil
}

// prepare returns all databases of cfg, of which fresh are new: the others run already
// and are unchanged.
func (d *daemon) prepare(ctx context.Context, cfg *config.Config) (all, fresh []*database, err error) {
	d.mu.Lock()
	running := byName(d.current)
	d.mu.Unlock()
	for _, want := range cfg.Databases {
		db := running[want.Name]
		if db == nil || db.failure.Load() != nil || !reflect.DeepEqual(db.fileConfig, want) {
			if db, err = newDatabase(ctx, d, want); err != nil {
				discard(fresh)
				return nil, nil, config.Invalid(fmt.Errorf("database %s: %w", want.Name, err))
			}
			fresh = append(fresh, db)
		}
		all = append(all, db)
	}
	return all, fresh, nil
}

func byName(all []*database) map[string]*database {
	m := map[string]*database{}
	for _, db := range all {
		m[db.cfg.Name] = db
	}
	return m
}

func discard(fresh []*database) {
	for _, db := range fresh {
		db.cancel()
		db.cache.Close()
		db.observer.Release(db.server)
	}
}

// openAll has databases accept once it is known what protocol they speak. Those
// that leave the port to us do so in the order of the configuration, so that their
// ports are the same at every start: first those whose engine is known, since a
// secret that cannot be read keeps the ports from all that come after.
func (d *daemon) openAll(fresh []*database) error {
	var g errgroup.Group
	var known, rest []*database
	for _, db := range fresh {
		switch {
		case len(db.listeners) > 0:
			g.Go(func() error { return d.open(db) })
		case db.fileConfig.Engine != "":
			known = append(known, db)
		default:
			rest = append(rest, db)
		}
	}
	g.Go(func() error {
		var all error
		for _, db := range append(known, rest...) {
			all = errors.Join(all, d.open(db))
		}
		return all
	})
	return g.Wait()
}

// precedes reports whether db accepts, or was to accept, the clients that next is for.
func (db *database) precedes(next *database) bool {
	return db != next && !db.retired && db.failure.Load() == nil && db.cfg.Name == next.cfg.Name
}

// predecessor returns the one that accepts in place of db until db does, nil if there
// is none. Call it with mu held.
func (d *daemon) predecessor(db *database) *database {
	for old := range d.alive {
		if old.precedes(db) && d.listeners.owned(old) {
			return old
		}
	}
	return nil
}

// open has the database accept, in place of the one that it replaces: when its
// engine is known, and not before it has a credential if the other one has. It does
// nothing if the database is no longer desired.
func (d *daemon) open(db *database) (err error) {
	d.mu.Lock()
	replaces := d.predecessor(db) != nil
	d.mu.Unlock()
	if replaces || db.cfg.Engine == "" {
		err = db.awaitSecret(db.desired)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if db.desired.Err() != nil {
		return nil
	}
	if err == nil && len(db.listeners) == 0 {
		err = d.listeners.listenDefault(db.desired, db, d.cfg)
	}
	if err != nil {
		d.fail(db, err)
		return err
	}
	engine := wiring.NewEngine(db.cfg, db.upstream, db.cache, db.clientTLS)
	db.server.Engine = engine
	if old := d.predecessor(db); old != nil {
		db.inheritEmergency(old)
	}
	for _, ln := range db.listeners {
		db.log.Info("listening", zap.String("engine", string(db.cfg.Engine)), zap.String("address", ln.Addr().String()), zap.String("upstream", db.upstreamName()))
		db.addrs = append(db.addrs, listenerName(ln))
		ln.accept(db)
	}
	db.listening.Store(true)
	db.prober.SetEngine(engine)
	d.reconcile()
	return nil
}

// fail records why db will never listen. No client may wait at its listeners. Call
// it with mu held.
func (d *daemon) fail(db *database, err error) {
	why := err.Error()
	db.failure.Store(&why)
	for _, ln := range db.listeners {
		if ln.owner == nil {
			d.listeners.close(ln)
		}
	}
	db.listeners = nil
}

// reconcile removes the databases that are not current. One that is replaced goes on
// accepting until its successor does. Call it with mu held.
func (d *daemon) reconcile() {
	current := byName(d.current)
	for db := range d.alive {
		if current[db.cfg.Name] != db {
			db.remove()
		}
	}
	d.closeUnused()
	for db := range d.alive {
		successor := current[db.cfg.Name]
		if successor == db || d.listeners.owned(db) {
			continue
		}
		d.retire(db)
		if successor == nil {
			db.endAfter(d.cfg.Shutdown.DrainTimeout, fault.ErrRemoved())
		}
	}
}

// closeUnused closes the listeners that no current database has or waits for, and
// has a database that was removed accept no more. Call it with mu held.
func (d *daemon) closeUnused() {
	used := map[*listener]bool{}
	waiting, current := map[string]bool{}, byName(d.current) // waiting: that do not accept yet
	for _, db := range d.current {
		waiting[db.cfg.Name] = !db.listening.Load()
		for _, ln := range db.listeners {
			used[ln] = true
		}
	}
	for _, ln := range d.listeners.open {
		if !used[ln] && (ln.owner == nil || !waiting[ln.owner.cfg.Name]) {
			d.listeners.close(ln)
		} else if ln.owner != nil && current[ln.owner.cfg.Name] == nil {
			ln.release() // clients wait for whoever has the listener now
		}
	}
}

// retire has a goroutine wait for the sessions of a database that accepts no longer, and
// then stop what they needed.
func (d *daemon) retire(db *database) {
	if db.retired {
		return
	}
	db.retired = true
	db.server.CloseLobby()
	d.running.Go(func() {
		db.server.Wait()
		db.cancel()
		db.refreshing.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.alive, db)
		db.stopDrainTimer()
		if !d.draining.Load() { // else the metrics stay to be read to the end
			db.observer.Release(db.server)
		}
	})
}
