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

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/discovery"
	"github.com/credproxy/credproxy/logging"
	"github.com/credproxy/credproxy/memory"
	"github.com/credproxy/credproxy/metrics"
	"github.com/credproxy/credproxy/proxy/peer"
	"github.com/credproxy/credproxy/secrets/awssm"
	"github.com/credproxy/credproxy/secrets/env"
	"github.com/credproxy/credproxy/tracing/otlp"
	"github.com/credproxy/credproxy/wiring"
)

// daemon holds everything that runs, from start to exit.
type daemon struct {
	log         *zap.Logger
	version     string
	metrics     *metrics.Metrics
	traces      *otlp.Exporter // nil: none
	queues      *awssm.Queues
	finder      *discovery.Finder
	peers       peer.Resolver
	controllers map[uint32]string // users who may control; read only
	refusals    logging.Pace      // of control, in the log
	variables   env.Variables
	engines     wiring.Engines
	draining    atomic.Bool
	proven      atomic.Bool                  // each database has accepted a credential once
	reloaded    atomic.Pointer[admin.Reload] // nil: not yet
	started     time.Time
	quit        func()          // starts the drain
	serving     context.Context // ends when the last session has
	running     sync.WaitGroup  // what must end before serving does

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
}

// Run runs until ctx ends and then drains. It returns an error if something that
// must run cannot. A SIGHUP has it read its configuration again.
func Run(ctx context.Context, cfg *config.Config, opts Options) error {
	log, r := opts.Log, reloader{file: opts.File, load: opts.Load, level: opts.Level}
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	var finding sync.WaitGroup
	defer finding.Wait()
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	d := &daemon{
		log: log, version: opts.Version, metrics: metrics.New(), queues: &awssm.Queues{Log: log}, started: time.Now(), quit: quit, serving: serving,
		alive: map[*database]bool{}, listeners: listeners{open: map[string]*listener{}, defaults: map[string]int{}},
	}
	r.named = d.namedFiles
	d.finder = discovery.New(log, d.metrics.Discovery())
	defer d.peers.Close()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	failed := make(chan error, 2)
	var err error
	if d.controllers, err = controllers(cfg.Admin); err != nil {
		return err
	}
	if d.traces, err = otlp.Start(otlp.Options{Endpoint: cfg.Tracing.Endpoint, Version: opts.Version, Log: log}); err != nil {
		return config.Invalid(err)
	}
	defer d.traces.Close()
	if d.listeners.inherited, err = inheritListeners(); err != nil {
		return err
	}
	defer d.listeners.forget()
	d.finder.Want(cfg)
	finding.Go(func() { d.finder.Run(ctx) })
	d.finder.First(ctx)
	cfg = d.finder.Complete(cfg)
	if err := d.apply(ctx, cfg, func(err error) { d.begun(err, failed) }); err != nil {
		return err
	}
	memory.Limit(os.DirFS("/"))
	log.Info("credproxy starts", zap.String("version", opts.Version), zap.Int("databases", len(cfg.Databases)))
	var administering sync.WaitGroup
	administering.Go(func() { memory.Release(serving, 30*time.Second) })
	administering.Go(func() { d.metrics.Sample(serving) })
	administering.Go(func() {
		if err := d.serveAdmin(serving, cfg.Admin); err != nil {
			failed <- err
		}
	})
	if cfg.Metrics.EMF {
		administering.Go(func() {
			if err := metrics.NewEMF(d.metrics, opts.EMF, dimensions(cfg.Metrics)).Run(serving); err != nil {
				log.Error("metrics.emf writes no more", zap.Error(err)) // no reason to end
			}
		})
	}
	again := make(chan string)
	administering.Go(func() { r.watch(ctx, hangups, again) })
	administering.Go(func() { d.keepSystemd(serving) })
	for ctx.Err() == nil && err == nil {
		select {
		case <-ctx.Done():
		case err = <-failed: // no reason to cut off anybody
		case why := <-again:
			d.reload(ctx, r, why)
		case <-d.finder.Changed():
			d.found(ctx)
		}
	}
	quit()
	d.drain()
	stopServing()
	administering.Wait()
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
	d.notifyReady()
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

// dimensions are those that every metric of metrics.emf has.
func dimensions(m config.Metrics) map[string]string {
	return map[string]string{"service": m.Service, "environment": m.Environment}
}
