package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/upgrade"
	"github.com/credproxy/credproxy/upgrade/older"
)

// The kinds of sockets that a new process gets.
const (
	ofDatabase = "database" // by the key of the listener
	ofSystemd  = "systemd"  // by FileDescriptorName=
)

// orphanGrace is what sessions of an old process get when the one that serves has crashed, and
// the service starts again only after them.
const orphanGrace = 2 * time.Second

// askDatabases bounds how long an upgrade asks the databases whether they are there.
const askDatabases = 5 * time.Second

// handover is what a new process has to know beside the sockets. It holds no secret.
type handover struct {
	Timeout time.Duration `json:"timeout"` // for it to be ready
	// Troubled are the databases whose clients cannot be logged in here either, and noDatabase if
	// none is served.
	Troubled []string `json:"troubled,omitempty"`
	Proven   bool     `json:"proven,omitempty"` // daemon.proven
	// Unanswered says that discovery has no answer here either.
	Unanswered  bool           `json:"unanswered,omitempty"`
	Defaults    map[string]int `json:"defaults,omitempty"` // listeners.defaults
	Emergencies []underWay     `json:"emergencies,omitempty"`
}

// underWay is an emergency that goes on.
type underWay struct {
	Database string    `json:"database"`
	Reason   string    `json:"reason"`
	Until    time.Time `json:"until"`
}

// requestUpgrade is [upgrade.Requests.Ask] in the words of package admin.
func (d *daemon) requestUpgrade(ctx context.Context, timeout time.Duration) (admin.Upgraded, error) {
	done, err := d.upgrades.Ask(ctx, timeout)
	return admin.Upgraded(done), err
}

// Left implements [upgrade.Process].
func (d *daemon) Left(pid int) upgrade.Done {
	d.systemd.HandOver(pid)
	d.handedOver.Store(true)
	d.sockets.KeepFile(true)
	return upgrade.Done{PID: pid, SessionsLeft: d.sessions()}
}

// Offer implements [upgrade.Process].
func (d *daemon) Offer(timeout time.Duration) upgrade.Offer {
	d.breaking.Lock() // one that is being begun is to go on; later ones are refused
	defer d.breaking.Unlock()
	state := handover{Timeout: timeout, Defaults: map[string]int{}, Unanswered: d.finder.Unanswered() != "", Troubled: d.troubled(), Proven: d.wasProven()}
	o := upgrade.Offer{From: upgrade.Origin{Number: d.succession.Number(), PID: os.Getpid()}, Predecessors: d.older.Predecessors, DrainTimeout: d.config().Shutdown.DrainTimeout}
	add := func(key upgrade.Key, ln net.Listener) {
		o.Sockets = append(o.Sockets, upgrade.Socket{Key: key, Conn: ln.(syscall.Conn)}) // all of package net's are
	}
	for _, db := range d.databases() {
		if g := db.breakGlassStatus(db.cache.Status()); g != nil && g.Active {
			state.Emergencies = append(state.Emergencies, underWay{db.cfg.Name, g.Reason, g.Until})
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, port := range d.listeners.defaults {
		state.Defaults[name] = port
	}
	for key, ln := range d.listeners.open {
		if _, ok := ln.Listener.(*inherited); !ok {
			add(upgrade.Key{Kind: ofDatabase, Name: key}, ln.Listener)
		}
	}
	for _, in := range d.listeners.inherited {
		add(upgrade.Key{Kind: ofSystemd, Name: in.name}, in.Listener)
	}
	o.Sockets = append(o.Sockets, d.sockets.Offer()...)
	o.State = state
	return o
}

// troubled returns what cannot be expected of a new process. A database that seems fine is asked,
// since it may be down without anybody having noticed.
func (d *daemon) troubled() (names []string) {
	ctx, cancel := context.WithTimeout(d.serving, askDatabases)
	defer cancel()
	if d.nothingServed(d.config()) != "" {
		names = append(names, noDatabase)
	}
	all := d.databases()
	troubled := make([]bool, len(all))
	var asking sync.WaitGroup
	for i, db := range all {
		asking.Go(func() {
			troubled[i] = db.outOfOrder() != "" || db.cache.Status().Emergency == nil && !db.prober.Again(ctx)
		})
	}
	asking.Wait()
	for i, db := range all {
		if troubled[i] {
			names = append(names, db.cfg.Name)
		}
	}
	return names
}

// Handler implements [upgrade.Process].
func (d *daemon) Handler() http.Handler {
	return older.Self{Log: d.log, Metrics: d.metrics.Registry, Cancel: d.engines.Cancel, State: d.asPredecessor, EndBreakGlass: func(database string) {
		_ = d.breakGlass(admin.BreakGlassRequest{Database: database, End: true}) // there may be none here
	}, Quit: func() {
		d.released.Store(true)
		d.hurry(d.config().Shutdown.DrainTimeout)
	}}.Handler()
}

func (d *daemon) asPredecessor() admin.Predecessor {
	sessions := d.sessions()
	d.mu.Lock()
	defer d.mu.Unlock()
	return admin.Predecessor{PID: os.Getpid(), Version: d.version, Started: d.started.Round(0), Sessions: sessions, Until: d.ends.Round(0)}
}

// StopAccepting implements [upgrade.Process].
func (d *daemon) StopAccepting() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listeners.accepting = false
	var stopping sync.WaitGroup
	for _, ln := range d.listeners.open {
		if ln.stop != nil {
			stopping.Go(ln.stop)
			ln.stop = nil
		}
	}
	stopping.Wait()
}

// AcceptAgain has all databases accept on what they have. It implements [upgrade.Process].
func (d *daemon) AcceptAgain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listeners.accepting = true
	for _, ln := range d.listeners.open {
		if ln.owner != nil && ln.stop == nil {
			ln.serve()
		}
	}
}

// sessions counts those of all databases.
func (d *daemon) sessions() (n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for db := range d.alive {
		n += db.server.Active()
	}
	return n
}

// outlive keeps the sessions until the last has ended, for shutdown.upgrade_timeout at most, or until ctx
// ends, and then as in a drain. Meanwhile the processes that came after this one ask for what it has.
func (d *daemon) outlive(ctx context.Context, next *upgrade.Successor) {
	d.mu.Lock()
	limits := d.cfg.Shutdown
	if d.ends.IsZero() {
		d.ends = time.Now().Add(limits.UpgradeTimeout)
	}
	for _, ln := range d.listeners.open {
		proxy.KeepFile(ln.Listener, true)
		d.listeners.close(ln)
	}
	for db := range d.alive {
		db.remove()
		d.retire(db)
		db.endAfter(limits.UpgradeTimeout, fault.ErrShuttingDown(nil))
	}
	d.mu.Unlock()
	d.listeners.forget()
	d.older.Leave() // the process that serves reaches them by itself
	var watching sync.WaitGroup
	watching.Go(func() {
		<-next.Ended() // nobody reaches the sessions here any more
		d.hurry(limits.DrainTimeout)
	})
	stop := context.AfterFunc(ctx, func() {
		if !d.released.Load() && next.HasEnded() { // by itself, and systemd starts another when this one has ended
			d.hurry(orphanGrace)
			return
		}
		d.hurry(limits.DrainTimeout)
	})
	d.running.Wait()
	stop()
	next.Close()
	watching.Wait()
}

// hurry ends the sessions of an old process in so long, unless they end sooner.
func (d *daemon) hurry(limit time.Duration) {
	d.log.Info("shutting down", zap.Duration("drain_timeout", limit))
	d.mu.Lock()
	defer d.mu.Unlock()
	if end := time.Now().Add(limit); d.ends.IsZero() || end.Before(d.ends) {
		d.ends = end
	}
	d.traces.CloseWithin(limit)
	for db := range d.alive {
		db.endAfter(limit, fault.ErrShuttingDown(nil))
	}
}

// stepBack leaves the place to the old process again, which goes on: err is why, nil if this one was told to end.
// The sessions that this one has accepted go on.
func (d *daemon) stepBack(err error) {
	if err == nil {
		err = errors.New("it was told to end")
	}
	d.mu.Lock()
	for _, ln := range d.listeners.open {
		d.listeners.close(ln)
	}
	d.mu.Unlock()
	d.succession.Failed(err)
}
