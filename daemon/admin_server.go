package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
)

// serveAdmin serves the admin server until ctx ends.
func (d *daemon) serveAdmin(ctx context.Context, addr string) error {
	if addr == "" {
		return nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
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
