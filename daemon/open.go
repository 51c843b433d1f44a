package daemon

import (
	"errors"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

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
	engine := d.engines.New(db.cfg, db.upstream, db.cache, db.clientTLS)
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
