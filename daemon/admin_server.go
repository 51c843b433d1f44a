package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/config"
)

// serveAdmin serves the admin server and the socket for control until ctx ends. Either
// may be turned off.
func (d *daemon) serveAdmin(ctx context.Context, cfg config.Admin) error {
	var ln net.Listener
	if cfg.Listen != "" {
		var err error
		if ln, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen); err != nil {
			return fmt.Errorf("admin.listen: %w; choose another address, or \"\" for none", err)
		}
		cfg.Listen = adminAddress(cfg.Listen, ln)
	}
	control, err := d.listenControl(ctx, cfg)
	if err != nil {
		if ln != nil {
			_ = ln.Close()
		}
		return err
	}
	var serving sync.WaitGroup
	var failed [2]error
	if control != nil {
		serving.Go(func() { failed[0] = d.serveHTTP(ctx, admin.ControlServer(d.adminState()), control) })
	}
	if ln != nil {
		d.log.Info("admin server listens", zap.Stringer("address", ln.Addr()))
		serving.Go(func() {
			failed[1] = d.serveHTTP(ctx, admin.Server(d.adminState(), promhttp.HandlerFor(d.metrics.Registry, promhttp.HandlerOpts{})), ln)
		})
	}
	serving.Wait()
	return errors.Join(failed[:]...)
}

// adminAddress returns the address of the admin server as those who look for it write it:
// as configured, with the port that the system chose if that was left to it.
func adminAddress(configured string, ln net.Listener) string {
	host, port, err := net.SplitHostPort(configured)
	if _, chosen, _ := net.SplitHostPort(ln.Addr().String()); err == nil && port == "0" {
		return net.JoinHostPort(host, chosen)
	}
	return configured
}

func (d *daemon) adminState() admin.State {
	return admin.State{
		Started: d.notStarted, Ready: d.notReady, Status: d.status,
		MayControl: d.mayControl, Quit: d.quit, BreakGlass: d.breakGlass,
	}
}

// serveHTTP serves on ln until ctx ends.
func (d *daemon) serveHTTP(ctx context.Context, srv *http.Server, ln net.Listener) error {
	srv.ErrorLog, _ = zap.NewStdLogAt(d.log, zap.WarnLevel) // there is such a level
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin server: %w", err)
	}
	return nil
}
