package main

import (
	"context"
	"fmt"
	"reflect"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
)

// apply makes cfg the configuration: it starts databases that are new, leaves
// alone those that are as they were, replaces those that changed, and lets go of
// those that cfg does not name. With an error nothing has changed.
//
// opened hears when all accept, for which secrets may have to name the engine, or
// why one does not.
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
			zap.String("secret", secretName(db.cfg.Credentials)), zap.String("tls", string(db.cfg.TLS.Mode)))
		d.alive[db] = true
		db.refreshing.Go(func() { db.cache.Run(db.serving); db.cache.Close() })
		db.refreshing.Go(func() { db.prober.run(db.wanted) })
	}
	d.settle()
	d.running.Go(func() { opened(d.openAll(fresh)) })
	return nil
}

// prepare finds the databases that run as cfg wants them, and makes the others.
func (d *daemon) prepare(ctx context.Context, cfg *config.Config) (all, fresh []*database, err error) {
	d.mu.Lock()
	running := byName(d.current)
	d.mu.Unlock()
	for _, want := range cfg.Databases {
		db := running[want.Name]
		if db == nil || !reflect.DeepEqual(db.asked, want) {
			if db, err = newDatabase(ctx, d, want); err != nil {
				discard(fresh)
				return nil, nil, usageError{fmt.Errorf("database %s: %w", want.Name, err)}
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
// ports are the same at every start.
func (d *daemon) openAll(fresh []*database) error {
	var g errgroup.Group
	var rest []*database
	for _, db := range fresh {
		if len(db.listeners) == 0 {
			rest = append(rest, db)
			continue
		}
		g.Go(func() error { return d.open(db) })
	}
	g.Go(func() error {
		for _, db := range rest {
			if err := d.open(db); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// open waits for the database's engine to be known and has it accept, in place of
// the one that it replaces. It does nothing if the database is wanted no more.
func (d *daemon) open(db *database) error {
	err := db.awaitEngine(db.wanted)
	d.mu.Lock()
	defer d.mu.Unlock()
	if db.wanted.Err() != nil {
		return nil
	}
	if err == nil && len(db.listeners) == 0 {
		err = d.listeners.listenDefault(db.wanted, db, d.cfg)
	}
	if err != nil {
		return err
	}
	engine := db.newEngine()
	db.server.Engine = engine
	for old := range d.alive {
		if old != db && old.cfg.Name == db.cfg.Name {
			db.inheritEmergency(old)
		}
	}
	for _, ln := range db.listeners {
		db.log.Info("listening", zap.String("engine", string(db.cfg.Engine)), zap.String("address", ln.Addr().String()), zap.String("upstream", db.upstreamName()))
		db.addrs = append(db.addrs, listenerName(ln))
		ln.accept(db)
	}
	db.listening.Store(true)
	db.prober.engine <- engine
	d.settle()
	return nil
}

// settle lets go of the databases that are not current. One that is replaced goes
// on accepting until its successor does. Call it with mu held.
func (d *daemon) settle() {
	current := byName(d.current)
	for db := range d.alive {
		if current[db.cfg.Name] != db {
			db.unwant()
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
			db.endAfter(d.cfg.Shutdown.DrainTimeout, proxy.ErrRemoved())
		}
	}
}

// closeUnused closes the listeners that no current database has or waits for. Call
// it with mu held.
func (d *daemon) closeUnused() {
	used := map[*listener]bool{}
	waiting := map[string]bool{} // names of databases that do not accept yet
	for _, db := range d.current {
		waiting[db.cfg.Name] = !db.listening.Load()
		for _, ln := range db.listeners {
			used[ln] = true
		}
	}
	for _, ln := range d.listeners.open {
		if !used[ln] && (ln.owner == nil || !waiting[ln.owner.cfg.Name]) {
			d.listeners.close(ln)
		}
	}
}

// retire waits for the sessions of a database that accepts no longer, and then
// stops what they needed.
func (d *daemon) retire(db *database) {
	if db.retired {
		return
	}
	db.retired = true
	db.server.Drain()
	d.running.Go(func() {
		db.server.Wait()
		db.cancel()
		db.refreshing.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.alive, db)
		db.stopEnding()
		if !d.draining.Load() { // else the metrics stay to be read to the end
			db.observer.Release(db.server)
		}
	})
}
