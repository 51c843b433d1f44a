package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/metrics"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/secrets/awssm"
)

// daemon is everything that runs, from start to exit.
type daemon struct {
	cfg       *config.Config
	log       *zap.Logger
	metrics   *metrics.Metrics
	databases []*database
	queues    *awssm.Queues
	peers     proxy.Peers
	ports     ports
	draining  atomic.Bool
	started   time.Time
	quit      func() // starts the drain

	// Three lifetimes, ended in this order: accepting, sessions, and what
	// sessions need (refreshing of credentials, the admin server).
	accepting, sessions, serving context.Context
}

// runDaemon runs until ctx ends (a signal) and then drains. It returns an error
// if something that must run cannot.
func runDaemon(ctx context.Context, cfg *config.Config, log *zap.Logger) error {
	background := context.WithoutCancel(ctx)
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	accepting, stopAccepting := context.WithCancel(background)
	defer stopAccepting()
	sessions, stopSessions := context.WithCancel(background)
	defer stopSessions()
	serving, stopServing := context.WithCancel(background)
	defer stopServing()
	d := &daemon{cfg: cfg, log: log, metrics: metrics.New(), queues: &awssm.Queues{Log: log}, accepting: accepting, sessions: sessions, serving: serving,
		started: time.Now(), quit: quit}
	defer d.peers.Close()

	d.ports.reserve(cfg)
	for i := range cfg.Databases {
		db, err := newDatabase(ctx, d, &cfg.Databases[i])
		if err != nil {
			return usageError{fmt.Errorf("database %s: %w", cfg.Databases[i].Name, err)}
		}
		d.databases = append(d.databases, db)
	}
	log.Info("credproxy starts", zap.String("version", version), zap.Int("databases", len(d.databases)))

	run, failed := errgroup.WithContext(serving)
	run.Go(func() error { return d.serveAdmin(serving) })
	for _, db := range d.databases {
		run.Go(func() error { db.cache.Run(serving); db.cache.Close(); return nil })
	}
	run.Go(func() error { return d.open() })

	select {
	case <-ctx.Done():
	case <-failed.Done(): // no reason to cut off anybody
	}
	d.drain(stopAccepting, stopSessions)
	stopServing()
	err := run.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	log.Info("credproxy ends", zap.Error(err))
	return err
}

// open opens all listeners and accepts. A database whose secret names the engine
// waits for it. Those that leave the port to us do so in the order of the
// configuration, so that their ports are the same at every start.
func (d *daemon) open() error {
	g, ctx := errgroup.WithContext(d.accepting)
	var rest []*database
	for _, db := range d.databases {
		if len(db.cfg.Listen) == 0 {
			rest = append(rest, db)
			continue
		}
		g.Go(func() error { return db.awaitAndOpen(ctx) })
	}
	g.Go(func() error {
		for _, db := range rest {
			if err := db.awaitAndOpen(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	err := g.Wait()
	if d.accepting.Err() != nil {
		return nil
	}
	return err
}

// drain lets sessions end in peace: readiness off, accept for min_delay, then
// close the listeners and wait for drain_timeout at most.
func (d *daemon) drain(stopAccepting, stopSessions func()) {
	d.draining.Store(true)
	d.metrics.Draining()
	d.log.Info("shutting down", zap.Duration("min_delay", d.cfg.Shutdown.MinDelay), zap.Duration("drain_timeout", d.cfg.Shutdown.DrainTimeout))
	time.Sleep(d.cfg.Shutdown.MinDelay)
	for _, db := range d.databases {
		db.server.Drain()
	}
	stopAccepting()
	force := time.AfterFunc(d.cfg.Shutdown.DrainTimeout, func() {
		var left int64
		for _, db := range d.databases {
			left += db.server.Active()
		}
		d.log.Warn("ending the sessions that are left", zap.Int64("sessions", left))
		stopSessions()
	})
	defer force.Stop()
	for _, db := range d.databases {
		db.server.Wait()
	}
}

// serveAdmin answers probes until ctx ends.
func (d *daemon) serveAdmin(ctx context.Context) error {
	if d.cfg.Admin.Listen == "" {
		return nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", d.cfg.Admin.Listen)
	if err != nil {
		return fmt.Errorf("admin.listen: %w; choose another address, or \"\" for none", err)
	}
	srv := admin.Server(admin.State{Started: d.notStarted, Ready: d.notReady, Status: d.status, Quit: d.quit, BreakGlass: d.breakGlass},
		promhttp.HandlerFor(d.metrics.Registry, promhttp.HandlerOpts{}))
	srv.ErrorLog = zap.NewStdLog(d.log)
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	d.log.Info("admin server listens", zap.Stringer("address", ln.Addr()))
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin server: %w", err)
	}
	return nil
}

func (d *daemon) notStarted() (reasons []string) {
	for _, db := range d.databases {
		if !db.listening.Load() {
			reasons = append(reasons, db.cfg.Name+": not listening yet")
		}
	}
	return reasons
}

func (d *daemon) notReady() []string {
	if d.draining.Load() {
		return []string{"shutting down"}
	}
	reasons := d.notStarted()
	for _, db := range d.databases {
		if why := db.notReady(); why != "" {
			reasons = append(reasons, db.cfg.Name+": "+why)
		}
	}
	return reasons
}

// ports hands out default ports: the engine's first, then the next ones.
type ports struct {
	mu    sync.Mutex
	taken map[int]bool
}

// reserve takes the ports that databases ask for by number.
func (p *ports) reserve(cfg *config.Config) {
	p.taken = map[int]bool{}
	for _, db := range cfg.Databases {
		for _, addr := range db.Listen {
			if _, port, err := net.SplitHostPort(addr); err == nil {
				n, _ := strconv.Atoi(port)
				p.taken[n] = true
			}
		}
	}
}

func (p *ports) next(from int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.taken[from] {
		from++
	}
	p.taken[from] = true
	return from
}
