package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/backend"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/pool"
	"github.com/credproxy/credproxy/proxy/relay"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
	"github.com/credproxy/credproxy/tracing"
)

// pooled is a server session that may have several clients, one after another. It is a
// pool.Conn.
type pooled struct {
	up    *backend.Conn
	fresh backend.Fresh
	unfit bool // it is its first client's alone
}

// Watch implements pool.Conn.
func (p *pooled) Watch(ctx context.Context) bool { return relay.AwaitQuiet(ctx, p.up.PacketConn.Conn) }

// Close implements pool.Conn.
func (p *pooled) Close() error {
	_ = p.up.TCP.SetDeadline(time.Now().Add(time.Second))
	return p.up.Close()
}

// Reset implements pool.Conn. What the next client hears of settings is as they are then.
func (p *pooled) Reset(ctx context.Context) error {
	status, err := p.up.Reset(ctx, p.fresh)
	if err == nil {
		p.up.OK = wire.WithSettings(p.up.OK, status)
	}
	return err
}

// mayShare reports whether the session of such a client can be another's afterwards. No
// reset brings back what the flags change for good: IGNORE_SPACE a part of sql_mode, and
// INTERACTIVE wait_timeout.
func mayShare(want *wire.HandshakeResponse) bool {
	const lasting = mysql.CLIENT_COMPRESS | mysql.CLIENT_IGNORE_SPACE | mysql.CLIENT_INTERACTIVE
	return want.Capabilities&lasting == 0
}

// newPooled makes a session that has just begun one that others may have.
func (e *Engine) newPooled(ctx context.Context, up *backend.Conn, p backend.Params) (*pooled, error) {
	made := &pooled{up: up, unfit: !mayShare(p.Response) || p.NoDatabase && !e.NoDatabase}
	if made.unfit {
		return made, nil
	}
	var err error
	made.fresh, err = up.Learn(ctx, p.Response.Capabilities, p.DatabaseFor(up.Cred))
	if _, said := errors.AsType[*fault.SQLError](err); said { // an expired password, for one
		made.unfit, err = true, nil
	}
	made.unfit = made.unfit || made.fresh.InitConnect // it is not run again
	if e.Servers != nil {
		made.fresh.OnlyAt(e.Servers.Wanted(topology.Route{}) == topology.Reader)
	}
	return made, err
}

// openAhead logs in for no client, as one that wants the same would.
func (e *Engine) openAhead(ctx context.Context, want *wire.HandshakeResponse, timeout time.Duration) (pool.Conn, error) {
	var made *pooled
	began := time.Now()
	err := e.Servers.Login(ctx, timeout, func(ctx context.Context) error {
		return e.Credentials.Login(ctx, func(ctx context.Context, cred *secrets.Credential) (err error) {
			ctx, cancel := context.WithTimeout(ctx, e.Servers.AttemptTime(began, timeout))
			defer cancel()
			made, err = e.openShared(ctx, want, cred)
			return err
		})
	})
	if err != nil {
		return nil, err // not made, which is a nil of another type
	}
	return made, nil
}

// openShared makes one attempt at a session that several clients can use.
func (e *Engine) openShared(ctx context.Context, want *wire.HandshakeResponse, cred *secrets.Credential) (*pooled, error) {
	p := e.params(nil)
	p.Response = want
	if err := e.checkDatabase(p.DatabaseFor(cred)); err != nil {
		return nil, err
	}
	cred, route, err := e.toServer(ctx, &p, topology.Place{}, cred)
	if err != nil {
		return nil, err
	}
	ctx, cancel := e.Servers.Attempt(ctx, route)
	defer cancel()
	up, err := backend.Login(ctx, p, cred)
	if err != nil {
		return nil, e.elsewhere(route, err)
	}
	if err := e.verify(ctx, up, want.Capabilities, route); err != nil {
		return nil, err
	}
	made, err := e.newPooled(ctx, up, p)
	if err != nil {
		return nil, secrets.MarkAccepted(err)
	}
	if made.unfit || len(up.Detach()) > 0 {
		_ = up.TCP.Close()
		return nil, secrets.MarkAccepted(errors.New("a session that only one client could use"))
	}
	return made, nil
}

// awaitServer has a client wait while there is no server for it: a session that is kept is at
// one that was.
func (l *login) awaitServer() error {
	if l.engine.Servers == nil {
		return nil
	}
	waiting, stop := proxy.CancelOnClientClose(l.ctx, l.client.Conn, l.client.R)
	defer func() {
		stop()
		_ = l.client.SetReadDeadline(l.session.Deadline()) // as it was
	}()
	return l.engine.Servers.Await(waiting, l.session.LoginTimeout())
}

// share serves a client with a session of the pool, or with a new one that becomes one.
func (l *login) share() (*proxy.Legs, error) {
	if err := l.awaitServer(); err != nil {
		return nil, err
	}
	reserved, err := l.meet()
	if err != nil {
		return nil, err
	}
	defer l.release()
	start := time.Now()
	if err := l.acquire(reserved); err != nil {
		l.returnMisled()
		return nil, err
	}
	p, reused := l.lease.Conn().(*pooled)
	if reused {
		err = l.take(p)
	} else if err = l.search(l.attempt); err == nil {
		opening, cancel := context.WithTimeout(l.ctx, l.session.LoginTimeout())
		if p, err = l.engine.newPooled(opening, l.up, l.params()); err == nil {
			l.lease.Opened(p)
		}
		cancel()
	}
	if err == nil {
		l.shared = p
		_ = l.client.SetWriteDeadline(time.Now().Add(l.session.LoginTimeout()))
		err = clientError(l.client.WritePacket(l.up.OK))
	}
	if err != nil {
		l.discard()
		return nil, err
	}
	l.client.loggedIn()
	fields := l.fields()
	if reused {
		l.session.Phase("reuse", start)
		tracing.Of(l.ctx).Flag("credproxy.reused")
		fields = append(fields, zap.Bool("reused", true), zap.Duration("age", l.lease.Age().Round(time.Second)))
	}
	l.traceLogin()
	l.session.LoggedIn(fields...)
	return l.sharedLegs(), nil
}

// meet greets the client and reads its answer, if that was not done before. The greeting
// tells the id of a connection before it is known what the client wants: it is that of the
// session that was used last, of which a lease is returned.
func (l *login) meet() (*pool.Lease, error) {
	if l.client.want != nil {
		return nil, nil
	}
	reserved := l.engine.Pool.Reserve(l.ctx)
	var err error
	switch {
	case reserved == nil: // it waits its turn, and is greeted meanwhile
		l.learnGreeting()
		err = l.receive(l.engine.greeting())
	case reserved.Conn() == nil:
		err = l.introduceFirst()
	default:
		slow := time.AfterFunc(clientPatience, reserved.SetAside)
		err = l.receive(reserved.Conn().(*pooled).up.Greeting)
		slow.Stop()
	}
	if err != nil && reserved != nil {
		reserved.GiveBack()
	}
	if err != nil {
		return nil, err
	}
	return reserved, nil
}

// acquire gets the right to a server session for the client, and one if the pool has it.
//
// A client that was told the id of a session of another key keeps that from all others until
// it leaves, or the place is needed: who stops a query of its own by that id stops nobody
// else's.
func (l *login) acquire(reserved *pool.Lease) (err error) {
	key, open := shareKey(l.client.want), pool.Open(nil)
	if mayShare(l.client.want) {
		want := *l.client.want
		want.Filler, want.Attributes, want.Auth = slices.Clone(want.Filler), slices.Clone(want.Attributes), nil
		e, timeout := l.engine, l.session.LoginTimeout()
		open = func(ctx context.Context) (pool.Conn, error) { return e.openAhead(ctx, &want, timeout) }
	}
	if reserved != nil && reserved.Conn() != nil && !reserved.Is(key) {
		l.session.Log().Debug("the client was greeted with the id of a session that it cannot have", zap.Uint32("connection_id_told", l.client.told.ID))
		reserved.SetAside()
		l.misled, reserved = reserved, nil
	}
	if reserved != nil && reserved.Claim(l.ctx, key, open) {
		l.lease = reserved
		return nil
	}
	if l.lease = l.engine.Pool.AtOnce(l.ctx, key, open); l.lease != nil {
		return nil
	}
	waiting, stop := proxy.CancelOnClientClose(l.ctx, l.client.Conn, l.client.R)
	defer stop()
	l.lease, err = l.engine.Pool.Acquire(waiting, key, open)
	if errors.Is(err, pool.ErrTimeout) {
		return fault.ErrNoServerSession()
	}
	return err
}

// take goes on with a session of the pool.
func (l *login) take(p *pooled) error {
	if err := l.engine.checkDatabase(p.fresh.Database); err != nil {
		return err
	}
	if what := l.client.told.Differs(p.up.Greeting, *l.client.want); what != "" {
		return errMoved(what)
	}
	l.up = p.up
	return nil
}

// shareKey names what a session depends on of what its client said. The flags that tell how
// to log in do not belong to it, nor does which process of the client it was.
func shareKey(want *wire.HandshakeResponse) string {
	return fmt.Sprintf("%x %d %d %x %q %q %q", want.Capabilities&^wire.LoginOnly, want.MaxPacket, want.Charset, want.Filler, want.User, want.Database, wire.LastingAttributes(want.Attributes))
}

// discard ends the lease, and with it the session.
func (l *login) discard() {
	if l.shared == nil && l.up != nil {
		_ = l.up.TCP.Close()
	}
	if l.shared != nil && l.up != nil {
		l.shared.up = l.up // COM_CHANGE_USER may have gone on on another connection
	}
	l.lease.Discard()
	l.returnMisled()
}

// returnMisled gives back the session of whose id the client was told in vain.
func (l *login) returnMisled() {
	if l.misled != nil {
		l.misled.GiveBack()
		l.misled = nil
	}
}

// sharedLegs relays between the client and a session of the pool, which goes back there if
// it is known to be idle when the client says that it leaves.
func (l *login) sharedLegs() *proxy.Legs {
	database := l.up.TCP
	stop := context.AfterFunc(l.ctx, func() { _ = database.Close() })
	ask, answer := new(wire.ClientCommands), new(wire.ServerAnswers)
	fromClient := relay.Leg{Conn: l.client.PacketConn.Conn, Buffered: l.client.Detach(), Scan: ask.Scan, Farewell: l.client.farewell}
	fromDatabase := relay.Leg{Conn: l.up.PacketConn.Conn, Buffered: l.up.Detach(), Scan: answer.Scan}
	early := len(fromClient.Buffered) > 0 || len(fromDatabase.Buffered) > 0 // one of them did not wait for the login's end
	end := func() {
		stop()
		l.discard()
	}
	return &proxy.Legs{Client: fromClient, Upstream: fromDatabase, Next: func(withheld []byte) (*proxy.Legs, error) {
		switch {
		case withheld == nil:
			end()
			return nil, nil
		case wire.IsChangeUser(withheld):
			stop()
			l.shared.unfit = true // it is another user's now
			if err := l.answerChangeUser(withheld); err != nil {
				l.client.sendError(err)
				l.discard()
				return nil, err
			}
			return l.sharedLegs(), nil
		case !early && !l.shared.unfit && wire.Idle(ask, answer, withheld) && stop():
			l.session.Afterwards(l.lease.Return())
			l.returnMisled()
			return nil, nil
		}
		// The server is told as it would be, and ends the session.
		return &proxy.Legs{Client: relay.Leg{Conn: fromClient.Conn, Buffered: withheld}, Upstream: relay.Leg{Conn: fromDatabase.Conn},
			Next: func([]byte) (*proxy.Legs, error) { end(); return nil, nil }}, nil
	}}
}
