package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/pool"
	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/relay"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/tracing"
)

// pooled is a server session that may have several clients, one after another. It is a
// pool.Conn.
type pooled struct {
	up       *backend.Conn
	began    []byte       // NegotiateProtocolVersion
	notices  []byte       // of the login, for the first client
	key      []byte       // BackendKeyData, as it came; nil: a server without cancel keys
	statuses []wire.Param // the parameters as last reported
	settled  func() bool  // waits for the cancels of the client that has left; nil: it had no key
}

// Watch implements pool.Conn.
func (p *pooled) Watch(ctx context.Context) bool { return relay.AwaitQuiet(ctx, p.up.Conn) }

// Close implements pool.Conn.
func (p *pooled) Close() error {
	_ = p.up.SetDeadline(time.Now().Add(time.Second))
	return p.up.Close()
}

// Reset implements pool.Conn. A cancel that arrives while it waits for its answers ends it,
// and one that was forwarded before is waited for: no cancel meets the next client.
func (p *pooled) Reset(ctx context.Context) error {
	if p.settled != nil && !p.settled() {
		return errors.New("a cancel of the client that has left may reach the next one")
	}
	p.settled = nil
	var frames wire.ServerFrames
	frames.Statuses = p.statuses
	err := p.up.Reset(ctx, func(m wire.Message) { frames.Scan(m.Raw) })
	p.statuses = frames.Statuses
	return err
}

// mayShare reports whether the session of such a client can be another's afterwards.
func mayShare(want wire.Startup) bool { return !want.Replication() }

// lease gets the right to a server session for a client, and one if the pool has it.
func (e *Engine) lease(ctx context.Context, s *proxy.Session, c *client, want wire.Startup) (*pool.Lease, error) {
	key, open := want.Key(), func(ctx context.Context) (pool.Conn, error) { return e.openAhead(ctx, want, s.LoginTimeout()) }
	if err := e.awaitServer(ctx, s, c); err != nil {
		return nil, err
	}
	if l := e.Pool.AtOnce(ctx, key, open); l != nil {
		return l, nil
	}
	waiting, stop := proxy.CancelOnClientClose(ctx, c.Conn, c.r)
	defer stop()
	l, err := e.Pool.Acquire(waiting, key, open)
	if errors.Is(err, pool.ErrTimeout) {
		return nil, fault.ErrNoServerSession()
	}
	return l, err
}

// awaitServer has a client wait while there is no server for it: a session that is kept is at
// one that was.
func (e *Engine) awaitServer(ctx context.Context, s *proxy.Session, c *client) error {
	if e.Servers == nil {
		return nil
	}
	waiting, stop := proxy.CancelOnClientClose(ctx, c.Conn, c.r)
	defer stop()
	return e.Servers.Await(waiting, s.LoginTimeout())
}

// openAhead logs in for no client, as a client that wants the same would.
func (e *Engine) openAhead(ctx context.Context, want wire.Startup, timeout time.Duration) (pool.Conn, error) {
	var p *pooled
	began := time.Now()
	err := e.Servers.Login(ctx, timeout, func(ctx context.Context) error {
		return e.Credentials.Login(ctx, func(ctx context.Context, cred *secrets.Credential) error {
			ctx, cancel := context.WithTimeout(ctx, e.Servers.AttemptTime(began, timeout))
			defer cancel()
			up, err := e.beginFor(ctx, want, nil, cred)
			if err != nil {
				return err
			}
			if p, err = awaitReady(ctx, up); err != nil {
				return secrets.MarkAccepted(err)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err // not p, which is a nil of another type
	}
	return p, nil
}

// awaitReady reads up to ReadyForQuery what a client would have been told.
func awaitReady(ctx context.Context, up *backend.Conn) (*pooled, error) {
	p := &pooled{up: up}
	p.keep(up.Preamble)
	var frames wire.ServerFrames
	up.Preamble = nil
	if deadline, ok := ctx.Deadline(); ok {
		_ = up.SetDeadline(deadline)
	}
	for {
		m, err := up.ReadMessage()
		if err != nil {
			_ = up.TCP.Close()
			return nil, backend.Broken("waiting for the session to begin", err)
		}
		switch m.Kind() {
		case 'E':
			_ = up.TCP.Close()
			return nil, backend.Refusal(m, up.Cred)
		case 'N':
			p.keep(m.Raw)
		case 'K':
			p.key = m.Raw
		case 'S':
			frames.Scan(m.Raw)
		case 'Z':
			if err := up.LearnReset(ctx, func(m wire.Message) { frames.Scan(m.Raw) }); err != nil {
				return nil, err
			}
			p.statuses = frames.Statuses
			if len(up.Detach()) > 0 {
				_ = up.TCP.Close()
				return nil, backend.Broken("more than the session's beginning", nil)
			}
			_ = up.SetDeadline(time.Time{})
			return p, nil
		}
	}
}

// keep keeps what is for clients of whole messages of the session's beginning.
func (p *pooled) keep(messages []byte) {
	for len(messages) >= 5 {
		n := min(len(messages), 1+int(binary.BigEndian.Uint32(messages[1:])))
		switch messages[0] {
		case 'v':
			p.began = append(p.began, messages[:n]...)
		case 'N':
			p.notices = append(p.notices, messages[:n]...)
		}
		messages = messages[n:]
	}
}

// greet tells a client what it would be told at a login, as the server would say it now.
func (p *pooled) greet(e *Engine, c *client) (remove func(), err error) {
	out := append(make([]byte, 0, 1024), p.began...)
	out = append(out, 'R', 0, 0, 0, 8, 0, 0, 0, 0)
	out, p.notices = append(out, p.notices...), nil
	for _, s := range p.statuses {
		out = append(out, 'S')
		out = binary.BigEndian.AppendUint32(out, uint32(4+len(s.Name)+1+len(s.Value)+1))
		out = append(append(append(append(out, s.Name...), 0), s.Value...), 0)
	}
	remove = func() {}
	if p.key != nil {
		theirs, err := wire.ParseKey(p.key[5:])
		if err != nil {
			return nil, backend.Broken("a cancel key that is not one", err)
		}
		own, target := e.CancelKeys.register(theirs, p.up, e.Upstream)
		out = append(out, own.BackendKeyData()...)
		remove = func() {
			e.CancelKeys.remove(target)
			p.settled = target.settled
		}
	}
	out = append(append(out, ready...), 'I')
	if _, err := relay.NewWriter(c.Conn).Write(out); err != nil {
		remove()
		return nil, clientError(err)
	}
	return remove, nil
}

// share serves a client with a session of the pool, or with a new one that becomes one.
func (e *Engine) share(ctx context.Context, s *proxy.Session, c *client, want wire.Startup) (*proxy.Legs, error) {
	start := time.Now()
	l, err := e.lease(ctx, s, c, want)
	if err != nil {
		return nil, err
	}
	p, reused := l.Conn().(*pooled)
	if !reused {
		up, err := e.login(ctx, s, c, want)
		if err == nil {
			opening, cancel := context.WithTimeout(ctx, s.LoginTimeout())
			p, err = awaitReady(opening, up)
			cancel()
		}
		if err != nil {
			l.Discard()
			return nil, err
		}
		l.Opened(p)
	} else if err := e.checkDatabase(want, p.up.Database); err != nil {
		s.Afterwards(l.Return())
		return nil, err
	}
	if !reused || time.Since(start) > time.Second { // else the deadline of the client's request will do
		_ = c.SetDeadline(time.Now().Add(s.LoginTimeout()))
	}
	remove, err := p.greet(e, c)
	if err != nil {
		l.Discard()
		return nil, err
	}
	fields := sessionFields(p.up, want)
	if reused {
		s.Phase("reuse", start)
		tracing.Of(ctx).Flag("credproxy.reused")
		fields = append(fields, zap.Bool("reused", true), zap.Duration("age", l.Age().Round(time.Second)))
	}
	loggedIn(ctx, p.up)
	s.LoggedIn(fields...)
	e.warnOfMD5(s, p.up)
	return e.shared(ctx, s, c, p, l, remove), nil
}

// shared relays between a client and a session of the pool, which goes back there if it is
// known to be clean when the client says that it leaves.
func (e *Engine) shared(ctx context.Context, s *proxy.Session, c *client, p *pooled, l *pool.Lease, remove func()) *proxy.Legs {
	tcp := p.up.TCP
	stop := context.AfterFunc(ctx, func() { _ = tcp.Close() })
	ask, answer := new(wire.ClientFrames), &wire.ServerFrames{Statuses: p.statuses}
	client := c.leg()
	early := len(client.Buffered) > 0 // it did not wait to hear whether it is logged in
	client.Scan = ask.Scan
	end := func() {
		remove()
		stop()
		l.Discard()
	}
	next := func(withheld []byte) (*proxy.Legs, error) {
		p.statuses = answer.Statuses
		switch {
		case withheld == nil:
			end()
			return nil, nil
		case !early && wire.Clean(ask, answer, withheld):
			remove()
			if !stop() {
				l.Discard()
				return nil, nil
			}
			s.Afterwards(l.Return())
			return nil, nil
		}
		// The server is told as it would be, and ends the session.
		return &proxy.Legs{Client: relay.Leg{Conn: c.Conn, Buffered: withheld}, Upstream: relay.Leg{Conn: p.up.Conn},
			Next: func([]byte) (*proxy.Legs, error) { end(); return nil, nil }}, nil
	}
	return &proxy.Legs{Client: client, Upstream: relay.Leg{Conn: p.up.Conn, Scan: answer.Scan}, Next: next}
}
