package proxy

import (
	"container/list"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/logging"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/relay"
	"github.com/credproxy/credproxy/tracing"
)

// Limits bound what clients of one database can take.
type Limits struct {
	MaxConnections int           // sessions logged in or logging in
	LoginTimeout   time.Duration // from accept to the client's OK
}

// queueGrace is how long accepting goes on to empty the queue of a listener.
const queueGrace = 10 * time.Millisecond

// Engine speaks one wire protocol.
type Engine interface {
	// Serve speaks to one client from its first byte until it is logged in: it
	// reads the request, asks s.Admit, logs in, calls s.LoggedIn, and returns what
	// is to be relayed; nil if there is nothing. It answers the client in the
	// protocol's own words also when it fails; the error it returns is for the log
	// and the metrics. It does not close s.Client.
	//
	// When ctx ends, the server has closed s.Client.
	Serve(ctx context.Context, s *Session) (*Legs, error)
}

// Observer hears how sessions fare.
type Observer interface {
	// SessionEnded is called once per connection, but for allowed cancel requests
	// and probes of the port. told is what the client was told about a failure; it
	// holds no secret.
	SessionEnded(kind fault.Kind, told string)
	// LoginPhase says how long one phase of a login took, also of an attempt
	// that then failed: "request",
	// "dial", "tls", "auth" or "total".
	LoginPhase(phase string, d time.Duration)
	// CancelRequest is called with "forwarded", "unknown", "limited" or "failed".
	CancelRequest(result string)
}

// Server accepts the clients of one database and owns their goroutines.
type Server struct {
	Engine   Engine
	Limits   Limits
	Log      *zap.Logger
	Observer Observer
	Traffic  relay.Traffic
	Access   Access
	// Traced takes the login of each session when it has ended, whatever came of it; it must not
	// wait. nil: nothing is recorded.
	Traced func(*tracing.Trace)

	refusals    logging.Pace // of their log lines
	nextID      atomic.Uint64
	active      atomic.Int64              // admitted sessions
	conns       atomic.Int64              // all connections
	drainedFrom atomic.Pointer[time.Time] // nil: it does not drain
	loops       sync.WaitGroup            // of Go
	sessions    sync.WaitGroup

	mu       sync.Mutex
	waiting  map[net.Conn]*list.Element // connections in the lobby, and their places in arrivals
	arrivals list.List                  // of them, the one that has waited longest first
	closed   bool                       // the lobby is
	drained  chan struct{}              // closed when the last session has ended; nil: it does not drain
	relays   map[*relay.Tap]time.Time
}

// Active is the number of sessions that are logged in or logging in.
func (s *Server) Active() int64 { return s.active.Load() }

// Relayed returns the bytes relayed after login.
func (s *Server) Relayed() (toUpstream, toClient int64) {
	return s.Traffic.ToUpstream.Load(), s.Traffic.ToClient.Load()
}

// serveOn accepts on ln until ctx ends or ln is closed. Who waits in its queue when
// ctx ends is still accepted. It leaves ln open: another server may go on. Accepting
// survives errors such as EMFILE: it tries again after a pause that doubles from
// 5 ms to 1 s.
func (s *Server) serveOn(ctx, sessions context.Context, ln Listener) {
	_ = ln.SetDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = ln.SetDeadline(time.Now().Add(queueGrace)) })
	defer stop()
	pause := time.Duration(0)
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			s.start(sessions, conn)
			continue
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded): // the last server's, too late
			_ = ln.SetDeadline(time.Time{})
			continue
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.Log.Error("accept failed; trying again", zap.Error(err), zap.Duration("pause", pause))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// Serve accepts on ln until stop is called, which returns when it has ended, or until
// ctx ends or ln is closed. It leaves ln open: another server may accept on it
// then. Sessions go on (see Wait).
//
// sessions is the context of the sessions: when it ends, their connections are
// closed.
func (s *Server) Serve(ctx, sessions context.Context, ln Listener) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	s.loops.Go(func() {
		defer close(done)
		s.serveOn(ctx, sessions, ln)
	})
	return func() {
		cancel()
		<-done
	}
}

// Wait returns when the last session has ended, and accepting.
func (s *Server) Wait() {
	s.loops.Wait()
	s.sessions.Wait()
}

func (s *Server) start(ctx context.Context, conn net.Conn) {
	if s.conns.Add(1) > int64(s.Limits.MaxConnections+2*lobby) { // some have left the lobby, and hear why they are not served
		s.conns.Add(-1)
		_ = conn.Close()
		s.Observer.SessionEnded(fault.TooMany, "")
		return
	}
	s.enterLobby(conn)
	s.sessions.Add(1)
	go s.serve(ctx, conn, time.Now())
}
