package daemon

import (
	"context"
	"slices"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/discovery"
	"github.com/credproxy/credproxy/wiring"
)

// apply makes the outcome of discovery the configuration. It starts the databases that are new, keeps those
// that are unchanged, replaces those that changed, and removes those that it does not
// name. If it returns an error nothing has changed.
//
// found says that it is the configuration in force with what was found since: all else in it
// stays as it is.
//
// opened is called when each has tried to accept, with what openAll says.
func (d *daemon) apply(ctx context.Context, outcome *discovery.Outcome, found bool, opened func(error)) error {
	cfg := outcome.Config
	if d.config() != nil {
		d.wasProven() // while it can be seen of those that there are
	}
	all, fresh, renewed, err := d.prepare(ctx, cfg, found)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, db := range fresh {
		if db.fileConfig.Found {
			continue // it listens when it opens, which harms no other if it cannot
		}
		if err := d.listeners.listen(ctx, db); err != nil {
			discard(fresh)
			d.closeUnused()
			return err
		}
	}
	for _, r := range renewed {
		r.use()
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
		db.refreshing.Go(db.watchServers)
	}
	d.reconcile()
	d.finder.Want(cfg)
	d.finder.Applied(outcome)
	failed := slices.DeleteFunc(slices.Clone(all), func(db *database) bool { return db.failure.Load() == nil || slices.Contains(fresh, db) })
	d.running.Go(func() {
		d.listenAgain(failed)
		opened(d.openAll(fresh))
	})
	return nil
}
