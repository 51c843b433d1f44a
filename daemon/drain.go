package daemon

import (
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
)

// queuePatience is how long clients wait in the queue of a socket of systemd's while the
// sessions of a process that ends do: for the next process, which gives them a session. If
// some take longer, cancels must get in.
const queuePatience = 2 * time.Second

// drain turns readiness off, accepts for min_delay, and waits for the sessions to end,
// for drain_timeout at most. Until then it still accepts: cancels are served, and whoever
// wants a session hears that there is none.
func (d *daemon) drain() {
	d.draining.Store(true)
	d.systemd.Stopping()
	d.metrics.Draining()
	limits := d.config().Shutdown
	d.log.Info("shutting down", zap.Duration("min_delay", limits.MinDelay), zap.Duration("drain_timeout", limits.DrainTimeout))
	if d.isMain() {
		d.older.Quit()
		time.Sleep(limits.MinDelay)
	}
	d.mu.Lock()
	d.traces.CloseWithin(limits.DrainTimeout)
	owners := d.listeners.pauseInherited()
	var sessions []<-chan struct{}
	for db := range d.alive {
		db.remove()
		sessions = append(sessions, db.server.Drain())
		db.endAfter(limits.DrainTimeout, fault.ErrShuttingDown(nil))
	}
	d.mu.Unlock()
	late := time.AfterFunc(queuePatience, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for ln, db := range owners {
			if d.listeners.open[ln.key] == ln {
				ln.accept(db)
			}
		}
	})
	for _, drained := range sessions {
		<-drained
	}
	late.Stop()
	d.mu.Lock()
	for _, ln := range d.listeners.open {
		d.listeners.close(ln)
	}
	for db := range d.alive {
		d.retire(db)
	}
	d.mu.Unlock()
	d.running.Wait()
}

// endAfter ends the sessions that are left after limit. Their clients hear why. Call it with daemon.mu held.
func (db *database) endAfter(limit time.Duration, why error) {
	if db.drainTimer != nil {
		if end := time.Now().Add(limit); end.Before(db.drainEnd) && db.drainTimer.Stop() {
			db.drainEnd = end
			db.drainTimer.Reset(limit)
		}
		return
	}
	db.drainEnd = time.Now().Add(limit)
	db.terminated = make(chan struct{})
	db.drainTimer = time.AfterFunc(limit, func() {
		defer close(db.terminated)
		if n := db.server.Active(); n > 0 {
			db.log.Warn("ending the sessions that are left", zap.Int64("sessions", n))
		}
		db.server.Terminate(why)
		db.endSessions()
	})
}

// spare has the sessions that are left go on. Call it with daemon.mu held.
func (db *database) spare() {
	if db.drainTimer != nil && db.drainTimer.Stop() {
		db.drainTimer = nil
	}
}

// stopDrainTimer stops drainTimer, or waits until it has done its work. Call it when no
// session is left.
func (db *database) stopDrainTimer() {
	if db.drainTimer != nil && !db.drainTimer.Stop() {
		<-db.terminated
	}
}
