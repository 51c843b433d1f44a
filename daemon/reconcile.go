package daemon

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/filewatch"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets/awscfg"
	"github.com/credproxy/credproxy/wiring"
)

func byName(all []*database) map[string]*database {
	m := map[string]*database{}
	for _, db := range all {
		m[db.cfg.Name] = db
	}
	return m
}

// precedes reports whether db accepts, or was to accept, the clients that next is for.
func (db *database) precedes(next *database) bool {
	return db != next && !db.retired.Load() && db.failure.Load() == nil && db.cfg.Name == next.cfg.Name
}

// predecessor returns the one that accepts in place of db until db does, nil if there
// is none. Call it with mu held.
func (d *daemon) predecessor(db *database) *database {
	for old := range d.alive {
		if old.precedes(db) && old.listening.Load() && d.listeners.owned(old) {
			return old
		}
	}
	return nil
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
		if successor != nil && db.retired.Load() && db.leadsWhere(successor) && !d.draining.Load() && !d.handedOver.Load() {
			db.spare() // it was away for a moment
		}
		d.retire(db)
		if successor == nil {
			db.endAfter(d.cfg.Shutdown.DrainTimeout, fault.ErrRemoved())
		}
	}
}

// leadsWhere reports whether db has the server and the login of another one.
func (db *database) leadsWhere(other *database) bool {
	was, is := db.fileConfig, other.fileConfig
	return was.Engine == is.Engine && was.Host == is.Host && was.Port == is.Port && slices.Equal(was.Hosts, is.Hosts) && reflect.DeepEqual(was.Credentials, is.Credentials)
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
	if db.retired.Swap(true) {
		return
	}
	if !d.handedOver.Load() { // else clients who were accepted have until limits.login_timeout
		db.server.CloseLobby()
	}
	d.running.Go(func() {
		db.closePool() // those that are in use still are
		db.server.Wait()
		db.cancel()
		db.refreshing.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.alive, db)
		db.stopDrainTimer()
		if !d.draining.Load() && !d.handedOver.Load() { // else the metrics stay to be read to the end
			db.observer.Release(db.server)
		}
	})
}

// prepare returns all databases of cfg, of which fresh are new: the others run already
// and are unchanged, but for what the files say that they name. Only what differs is looked at if
// only says so: then one that was found and cannot be made stays what it was, also in cfg.
func (d *daemon) prepare(ctx context.Context, cfg *config.Config, only bool) (all, fresh []*database, renewed []renewal, err error) {
	d.mu.Lock()
	running := byName(d.current)
	d.mu.Unlock()
	shared, seen := &awscfg.Shared{Log: d.log}, filewatch.Sums{}
	served := cfg.Databases[:0:0]
	for _, want := range cfg.Databases {
		db := running[want.Name]
		kept := db != nil && (want.Found || only || db.failure.Load() == nil) && reflect.DeepEqual(db.fileConfig, want) && !db.displaced(cfg)
		if kept && !only {
			if sum, _ := seen.Of(wiring.Files(&want)); sum != db.files && !db.listening.Load() {
				kept = false // it has nothing yet that is worth keeping
			} else if sum != db.files {
				var r renewal
				r, err = newRenewal(db, sum)
				renewed = append(renewed, r)
			}
		}
		if !kept {
			if db, err = newDatabase(ctx, d, want, shared); err == nil {
				fresh = append(fresh, db)
			}
		}
		if err != nil && only && want.Found {
			d.log.Error("a database that was found cannot be served as it is now", zap.String("database", want.Name), zap.Error(err))
			if db, err = running[want.Name], nil; db == nil {
				continue
			}
			want = db.fileConfig
		}
		if err != nil {
			discard(fresh)
			return nil, nil, nil, config.Invalid(fmt.Errorf("database %s: %w", want.Name, err))
		}
		all, served = append(all, db), append(served, want)
	}
	cfg.Databases = served
	return all, fresh, renewed, nil
}

func discard(fresh []*database) {
	for _, db := range fresh {
		db.cancel()
		db.closePool()
		db.cache.Close()
		db.observer.Release(db.server)
	}
}
