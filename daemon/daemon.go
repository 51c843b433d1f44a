package daemon

import (
	"context"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/admin/sockets"
	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/discovery"
	"github.com/credproxy/credproxy/memory"
	"github.com/credproxy/credproxy/metrics"
	"github.com/credproxy/credproxy/proxy/peer"
	"github.com/credproxy/credproxy/secrets/awssm"
	"github.com/credproxy/credproxy/secrets/env"
	"github.com/credproxy/credproxy/systemd"
	"github.com/credproxy/credproxy/tracing/otlp"
	"github.com/credproxy/credproxy/upgrade"
	"github.com/credproxy/credproxy/upgrade/older"
	"github.com/credproxy/credproxy/wiring"
)

// daemon holds everything that runs, from start to exit.
type daemon struct {
	log       *zap.Logger
	version   string
	metrics   *metrics.Metrics
	traces    *otlp.Exporter // nil: none
	queues    *awssm.Queues
	finder    *discovery.Finder
	peers     peer.Resolver
	variables env.Variables
	engines   wiring.Engines
	draining  atomic.Bool
	proven    atomic.Bool                  // see wasProven
	reloaded  atomic.Pointer[admin.Reload] // nil: not yet
	started   time.Time
	quit      func()          // starts the drain
	serving   context.Context // ends when the last session has
	running   sync.WaitGroup  // what must end before serving does

	succession *upgrade.Succession // nil: no old process
	old        handover            // what that one says
	older      older.Processes
	upgrades   *upgrade.Requests
	opened     atomic.Bool   // each database of the start has tried to accept
	main       chan struct{} // closed when this process is the one that serves
	decided    chan struct{} // closed when it is, or will not be
	handedOver atomic.Bool   // a new process serves
	released   atomic.Bool   // and has said that it ends
	ends       time.Time     // when the sessions that are left do, after that
	sockets    *sockets.Sockets
	systemd    systemd.Notifier

	breaking  sync.Mutex // held while an emergency is begun or ended, or handed over
	mu        sync.Mutex
	cfg       *config.Config
	current   []*database        // in the order of cfg
	alive     map[*database]bool // these, and those whose sessions go on after a reload
	listeners listeners
}

// Options are what [Run] needs beside the configuration. All but File must be set.
type Options struct {
	Log     *zap.Logger
	Level   zap.AtomicLevel                // of Log; a reload changes it
	File    string                         // of the configuration, to watch; "": none
	Load    func() (*config.Config, error) // reads the configuration again
	EMF     io.Writer                      // for metrics.emf
	Version string
	Program upgrade.Program // what to start at an upgrade
	// Succession is what this process takes over of an old one; nil: it was started as ever.
	Succession *upgrade.Succession
}

// Run runs until ctx ends and then drains, or until a new process has taken over and
// the last session has ended. It returns an error if something that must run cannot. A
// SIGHUP has it read its configuration again, a SIGUSR2 start a new process.
func Run(ctx context.Context, cfg *config.Config, opts Options) error {
	log, r := opts.Log, reloader{file: opts.File, load: opts.Load, level: opts.Level}
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	public, leave := context.WithCancel(serving) // ends what only the process does that serves new clients
	defer leave()
	var finding sync.WaitGroup
	defer finding.Wait()
	told := ctx
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	d := &daemon{
		log: log, version: opts.Version, metrics: metrics.New(), queues: &awssm.Queues{Log: log, Until: public}, started: time.Now(), quit: quit, serving: serving,
		alive: map[*database]bool{}, listeners: listeners{open: map[string]*listener{}, defaults: map[string]int{}, accepting: opts.Succession == nil, succession: opts.Succession},
		succession: opts.Succession, older: older.Processes{Predecessors: opts.Succession.Predecessors(), Log: log}, upgrades: upgrade.NewRequests(ctx, opts.Program, admin.UpgradeTimeout, log), main: make(chan struct{}), decided: make(chan struct{}),
	}
	if err := d.readHandover(); err != nil {
		return err
	}
	r.named = d.namedFiles
	d.finder = discovery.New(log, d.metrics.Discovery())
	d.engines.CancelElsewhere = d.older.Cancel
	d.upgrades.Refusal = d.upgradeRefusal
	d.systemd = systemd.Notifier{Log: log, Main: d.isMain, Summary: d.summary}
	defer d.peers.Close()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	asked := make(chan os.Signal, 1)
	upgrade.Notify(asked)
	defer signal.Stop(asked)
	failed := make(chan error, 4)
	access, err := sockets.NewAccess(cfg.Admin.UIDs, &d.peers, log)
	if err != nil {
		return err
	}
	d.traces = otlp.Start(otlp.Options{Endpoint: cfg.Tracing.Endpoint, Version: opts.Version, Log: log})
	defer d.traces.Close()
	if err = d.inheritListeners(); err != nil {
		return err
	}
	defer d.listeners.forget()
	d.finder.Want(cfg)
	finding.Go(func() { d.finder.Run(ctx) })
	if opts.Succession != nil {
		d.finder.First(ctx) // what the old process has found is to be there before it leaves
	}
	outcome := d.finder.Complete(cfg)
	cfg = outcome.Config
	tried, cannot := make(chan struct{}), error(nil) // closed when each of these databases has tried to accept
	if err := d.apply(ctx, outcome, false, func(err error) { cannot = err; close(tried) }); err != nil {
		return err
	}
	begin := func(error) { d.running.Go(func() { <-tried; d.begun(cannot, failed) }) }
	if len(cfg.Discover) == 0 || opts.Succession != nil {
		begin(nil)
		begin = func(error) {}
	} // else with what the first answers have
	memory.Limit(os.DirFS("/"))
	log.Info("credproxy starts", zap.String("version", opts.Version), zap.Int("databases", len(cfg.Databases)))
	var working sync.WaitGroup // until the last session has ended
	working.Go(func() { memory.Release(serving, 30*time.Second) })
	working.Go(func() { d.metrics.Sample(serving) })
	var administering sync.WaitGroup
	if d.sockets, err = sockets.Open(ctx, cfg.Admin, d.succession, log); err != nil {
		failed <- err
		err = nil // it is heard there
	}
	administering.Go(func() {
		d.awaitMain(public)
		all := promhttp.HandlerFor(metrics.WithOlder(d.metrics.Registry, d.older.Metrics), promhttp.HandlerOpts{})
		if err := d.sockets.Serve(public, d.adminState(access), all, d.handedOver.Load); err != nil {
			failed <- err
		}
	})
	if cfg.Metrics.EMF {
		administering.Go(func() {
			d.awaitMain(public)
			if err := metrics.NewEMF(d.metrics, opts.EMF, map[string]string{"service": cfg.Metrics.Service, "environment": cfg.Metrics.Environment}).Run(public); err != nil {
				log.Error("metrics.emf writes no more", zap.Error(err)) // no reason to end
			}
		})
	}
	again := make(chan string)
	administering.Go(func() { r.watch(ctx, hangups, again) })
	administering.Go(func() {
		d.awaitMain(public)
		d.systemd.Keep(public, d.notifyReady)
	})
	administering.Go(func() { d.upgrades.Serve(ctx, asked) })
	administering.Go(func() { d.takeOver(ctx, public, failed) })
	var next *upgrade.Successor
	for ctx.Err() == nil && err == nil && next == nil {
		select {
		case <-ctx.Done():
		case err = <-failed: // no reason to cut off anybody
		case why := <-again:
			d.reload(ctx, r, why)
		case <-d.finder.Changed():
			d.found(ctx, begin)
			begin = func(error) {}
		case req := <-d.upgrades.Next:
			next = req.Do(ctx, d)
		}
	}
	quit()
	<-d.decided
	switch {
	case next != nil:
		leave()
		d.outlive(told, next)
	case !d.isMain():
		d.stepBack(err)
		fallthrough
	default:
		d.drain()
	}
	d.upgrades.Wait()
	stopServing()
	administering.Wait()
	working.Wait()
	d.traces.Close()
	if err == nil { // else it is the caller's to tell
		log.Info("credproxy ends")
	}
	return err
}

// begun is called when each database of the start has tried to accept, or with why none
// can, which ends the process: whoever started it looks at its exit status.
func (d *daemon) begun(err error, failed chan<- error) {
	if err == nil {
		d.mu.Lock()
		if !slices.ContainsFunc(d.current, func(db *database) bool { return len(db.listeners) == 0 }) {
			err = d.listeners.unmatched(d.cfg)
		}
		d.mu.Unlock()
	}
	if err != nil {
		failed <- err
		return
	}
	d.opened.Store(true)
	d.notifyReady()
}

func (d *daemon) adminState(access *sockets.Access) admin.State {
	return admin.State{
		Started: d.notStarted, Ready: d.notReady, Status: d.status,
		MayControl: access.MayControl, Quit: d.quit, BreakGlass: d.breakGlass, Upgrade: d.requestUpgrade,
	}
}

func (d *daemon) config() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

// databases returns those that clients reach now: the current ones, but for one that
// does not accept yet the one that it replaces.
func (d *daemon) databases() []*database {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Clone(d.current)
	for i, db := range all {
		if db.listening.Load() {
			continue
		}
		for old := range d.alive {
			if old.cfg.Name == db.cfg.Name && old.listening.Load() && d.listeners.owned(old) {
				all[i] = old
			}
		}
	}
	return all
}
