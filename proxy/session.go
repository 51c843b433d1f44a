package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/relay"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/tracing"
)

// Legs are the two sides of a session that is logged in.
type Legs struct {
	Client, Upstream relay.Leg
	// Next is called once when the relay between them has ended, however it did.
	// held is what Client.Scan held back when it stopped the relay; nil means that
	// the session is over. Next returns what to relay next, as Engine.Serve does.
	// Upstream is Next's to close, unless it goes on.
	Next func(withheld []byte) (*Legs, error)
}

// serve logs a client in. The session then goes on without this goroutine.
func (s *Server) serve(ctx context.Context, conn net.Conn, accepted time.Time) {
	growStack(0)
	sess := s.newSession(ctx, conn, accepted)
	ctx = sess.traced(secrets.WithPeer(ctx, peerName(conn)))
	sess.goOn(func() (*Legs, error) { return s.Engine.Serve(ctx, sess) })
}

func (s *Server) newSession(ctx context.Context, conn net.Conn, accepted time.Time) *Session {
	sess := &Session{Client: conn, Accepted: accepted, server: s, ctx: ctx, id: s.nextID.Add(1)}
	sess.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if len(s.Access.UIDs) > 0 || s.Log.Core().Enabled(zap.InfoLevel) {
		sess.identify() // while the client is there
	}
	return sess
}

// identify looks up who the client is, once.
func (s *Session) identify() {
	s.identified.Do(func() {
		s.identity = s.server.Access.identify(s.Client)
		s.about = append(s.server.Access.fields(s.identity), zap.Uint64("session", s.id), zap.String("peer", peerName(s.Client)))
	})
}

func peerName(c net.Conn) string {
	if a := c.RemoteAddr(); a.Network() != "unix" {
		return a.String()
	}
	return "unix:" + c.LocalAddr().String()
}

// Session is one client connection.
type Session struct {
	Client   net.Conn
	Accepted time.Time

	server     *Server
	ctx        context.Context // of all sessions
	release    func() bool     // of ctx
	id         uint64
	identified sync.Once
	identity   identity    // after identify
	about      []zap.Field // names it in the log; after identify
	admitted   bool
	outcome    *relay.Outcome // after the login
	terminated error          // why, by Server.Terminate or EndAt; nil: it was not
	quiet      bool           // nothing worth a line happened
	login      *tracing.Login // until the login has ended; nil: nobody listens
	afterwards func()         // of Afterwards; nil: nothing
}

// Deadline is when the login must be done.
func (s *Session) Deadline() time.Time { return s.Accepted.Add(s.server.Limits.LoginTimeout) }

// LoginTimeout is how long a login may take.
func (s *Session) LoginTimeout() time.Duration { return s.server.Limits.LoginTimeout }

// Phase reports how long a phase of the login took that began at start. At level debug
// the log says so, with the details, which hold no secret.
func (s *Session) Phase(name string, start time.Time, details ...zap.Field) {
	took := time.Since(start)
	s.server.Observer.LoginPhase(name, took)
	if s.server.Log.Core().Enabled(zap.DebugLevel) {
		s.Log().Debug("login: "+name, append(details, zap.Duration("took", took))...)
	}
}

// CountCancelRequest reports a cancel request; the session then ends without a line.
func (s *Session) CountCancelRequest(result string) {
	s.quiet = true
	s.server.Observer.CancelRequest(result)
}

// Quiet makes an end without error leave no line: a probe of the port.
func (s *Session) Quiet() { s.quiet = true }

// Afterwards has the session's goroutine call f when the session has ended and its client's
// connection is closed, which f can so take its time for. Who made f waits for it.
func (s *Session) Afterwards(f func()) { s.afterwards = f }

// goOn does the next step of the session, and then relays, or ends it. A panic ends
// only this session.
func (s *Session) goOn(step func() (*Legs, error)) {
	relayed, err := func() (relayed bool, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fault.FromPanic(p)
			}
		}()
		legs, err := step()
		if err != nil || legs == nil {
			return false, err
		}
		s.relay(legs)
		return true, nil
	}()
	if !relayed {
		s.end(err)
	}
}

// relay lifts the deadlines of the login and relays.
func (s *Session) relay(legs *Legs) {
	_ = legs.Client.SetDeadline(time.Time{})
	_ = legs.Upstream.SetDeadline(time.Time{})
	unwatch := s.server.watch(&legs.Client, &legs.Upstream)
	next := legs.Next
	relay.Run(legs.Client, legs.Upstream, &s.server.Traffic, func(out relay.Outcome) {
		growStack(0)
		s.terminated = unwatch()
		if s.outcome != nil {
			out.ToClient += s.outcome.ToClient
			out.ToUpstream += s.outcome.ToUpstream
		}
		s.outcome = &out
		s.goOn(func() (*Legs, error) {
			following, err := next(out.Withheld)
			if failed, ok := errors.AsType[*fault.Error](out.Err); ok && err == nil {
				err = failed
			}
			return following, err
		})
	})
}

// growStack makes the stack of a goroutine on which little is under way as large as a login,
// or a reset, will need it. Go does so when it is needed, from 2 KB to 4 and to 8, and has to look
// at each call that is under way then, which took 5 % of all that a client took whose server
// session was there.
//
//go:noinline
func growStack(i int) byte {
	var room [5 << 10]byte
	return room[i]
}

// end gives back what the session holds.
func (s *Session) end(err error) {
	if s.server.drainedFrom.Load() != nil && errors.Is(err, net.ErrClosed) {
		err = fault.ErrShuttingDown(err)
	}
	s.report(err)
	s.endTrace(err)
	if s.admitted {
		s.server.leave()
	}
	s.release()
	s.server.leaveLobby(s.Client)
	_ = s.Client.Close()
	s.server.conns.Add(-1)
	s.server.sessions.Done()
	if s.afterwards != nil {
		s.afterwards()
	}
}
