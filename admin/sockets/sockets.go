// Package sockets has the listeners of the admin server and of control, from their opening to the
// end: it opens them or takes them from an old process, knows who may control, serves, and passes
// them on.
//
// Invariant: the socket for control is never open to other users than the process's own and root.
//
// What is served there is package admin's.
package sockets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/upgrade"
)

// The kinds of sockets that a new process gets.
const (
	ofAdmin   = "admin"   // by admin.listen
	ofControl = "control" // by path or abstract name
)

// leaveGrace is how long requests may go on that are under way when a new process takes over.
const leaveGrace = 5 * time.Second

// Sockets are the open ones. [Open] opens them.
type Sockets struct {
	log          *zap.Logger
	web, control *socket // nil: none
}

// socket is a listener. Its key is how a new process finds it.
type socket struct {
	net.Listener
	key upgrade.Key
}

// Open opens the admin server's listener and the socket for control. Either may be turned
// off. What an old process had open it takes from old, which may be nil.
func Open(ctx context.Context, cfg config.Admin, old *upgrade.Succession, log *zap.Logger) (*Sockets, error) {
	s := &Sockets{log: log}
	if cfg.Listen != "" {
		key := upgrade.Key{Kind: ofAdmin, Name: cfg.Listen}
		ln := old.Listener(key)
		if ln == nil {
			var err error
			if ln, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen); err != nil {
				return s, fmt.Errorf("admin.listen: %w; choose another address, or \"\" for none", err)
			}
		}
		s.web = &socket{ln, key}
		cfg.Listen = address(cfg.Listen, ln)
	}
	var err error
	if s.control, err = s.openControl(ctx, cfg, old); err == nil && s.web != nil {
		log.Info("admin server listens", zap.Stringer("address", s.web.Addr()))
	}
	return s, err
}

// address returns the address of the admin server as those who look for it write it:
// as configured, with the port that the system chose if that was left to it.
func address(configured string, ln net.Listener) string {
	host, port, err := net.SplitHostPort(configured)
	if _, chosen, _ := net.SplitHostPort(ln.Addr().String()); err == nil && port == "0" {
		return net.JoinHostPort(host, chosen)
	}
	return configured
}

// openControl opens the socket for control, nil if there is none.
func (s *Sockets) openControl(ctx context.Context, cfg config.Admin, old *upgrade.Succession) (*socket, error) {
	var failed error
	for _, place := range admin.ControlSockets(cfg.Control, cfg.Listen) {
		key := upgrade.Key{Kind: ofControl, Name: place}
		var ln net.Listener
		var err error
		if ln = old.Listener(key); ln == nil {
			ln, err = listen(ctx, place)
		} else if !strings.HasPrefix(place, "@") { // an abstract name has no file
			ln, err = proxy.Inherit(ln, place)
		}
		if err == nil {
			s.log.Info("control socket listens", zap.String("address", place))
			return &socket{ln, key}, nil
		}
		failed = cmp.Or(failed, err)
	}
	if failed != nil && cfg.Control != admin.AutoControl {
		return nil, fmt.Errorf("admin.control: %w", failed)
	}
	if failed != nil {
		s.log.Warn("no control socket; control goes over admin.listen alone", zap.Error(failed))
	}
	return nil, nil
}

// listen listens on a path, which only the process's own user and root can reach,
// or on an abstract name.
func listen(ctx context.Context, place string) (net.Listener, error) {
	if strings.HasPrefix(place, "@") {
		return new(net.ListenConfig).Listen(ctx, "unix", place)
	}
	ln, err := proxy.Listen(ctx, "unix:"+place)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(place, 0o600); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

// Serve serves on what is open until ctx ends. If leaving reports true then, requests under way are
// answered: one of them has asked for the upgrade.
func (s *Sockets) Serve(ctx context.Context, state admin.State, metrics http.Handler, leaving func() bool) error {
	var serving sync.WaitGroup
	var failed [2]error
	if s.control != nil {
		serving.Go(func() { failed[0] = s.serve(ctx, admin.ControlServer(state), s.control, leaving) })
	}
	if s.web != nil {
		serving.Go(func() { failed[1] = s.serve(ctx, admin.Server(state, metrics), s.web, leaving) })
	}
	serving.Wait()
	return errors.Join(failed[:]...)
}

func (s *Sockets) serve(ctx context.Context, srv *http.Server, ln net.Listener, leaving func() bool) error {
	srv.ErrorLog, _ = zap.NewStdLogAt(s.log, zap.WarnLevel) // there is such a level
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		if leaving() {
			ctx, cancel := context.WithTimeout(context.Background(), leaveGrace)
			defer cancel()
			_ = srv.Shutdown(ctx)
		}
		_ = srv.Close()
	})
	err := srv.Serve(ln)
	if !stop() {
		<-closed
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin server: %w", err)
	}
	return nil
}

// Offer returns the sockets for a new process.
func (s *Sockets) Offer() (all []upgrade.Socket) {
	for _, open := range []*socket{s.web, s.control} {
		if open != nil {
			all = append(all, upgrade.Socket{Key: open.key, Conn: open.Listener.(syscall.Conn)}) // package net's and proxy's are
		}
	}
	return all
}

// KeepFile is [proxy.KeepFile] of the socket for control.
func (s *Sockets) KeepFile(keep bool) {
	if s.control != nil {
		proxy.KeepFile(s.control.Listener, keep)
	}
}
