package daemon

import (
	"context"
	"fmt"
	"reflect"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
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

func discard(fresh []*database) {
	for _, db := range fresh {
		db.cancel()
		db.cache.Close()
		db.observer.Release(db.server)
	}
}
