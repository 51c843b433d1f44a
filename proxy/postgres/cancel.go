package postgres

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"io"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
)

// cancelTimeout bounds one cancel, from the request to the database's EOF.
const cancelTimeout = 5 * time.Second

// cancelTarget is a session that can be cancelled.
type cancelTarget struct {
	secret   []byte         // given to the client; as long as the database's own
	upstream wire.CancelKey // the database's own key
	addr     net.Addr       // where the session is: another address may be another server
	host     string         // whose certificate to expect there
}

// cancelTargets finds sessions by the key that their client holds. A key dies
// with its session.
type cancelTargets struct {
	mu    sync.Mutex
	byPID map[uint32][]*cancelTarget
}

// add registers a session and returns the key for its client: the database's
// process id, so that the client's idea of it is right, and a secret of our own.
// Call remove when the session ends.
func (t *cancelTargets) add(theirs wire.CancelKey, addr net.Addr, host string) (key wire.CancelKey, remove func()) {
	target := &cancelTarget{secret: make([]byte, len(theirs.Secret)), upstream: theirs, addr: addr, host: host}
	_, _ = rand.Read(target.secret) // never fails: crypto/rand
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byPID == nil {
		t.byPID = map[uint32][]*cancelTarget{}
	}
	t.byPID[theirs.PID] = append(t.byPID[theirs.PID], target)
	return wire.CancelKey{PID: theirs.PID, Secret: target.secret}, func() { t.remove(target) }
}

func (t *cancelTargets) remove(target *cancelTarget) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pid := target.upstream.PID
	var rest []*cancelTarget
	for _, other := range t.byPID[pid] {
		if other != target {
			rest = append(rest, other)
		}
	}
	if rest == nil {
		delete(t.byPID, pid)
		return
	}
	t.byPID[pid] = rest
}

// find returns the session with key, or nil. Secrets are compared in constant
// time.
func (t *cancelTargets) find(key wire.CancelKey) *cancelTarget {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found *cancelTarget
	for _, target := range t.byPID[key.PID] {
		if subtle.ConstantTimeCompare(target.secret, key.Secret) == 1 {
			found = target
		}
	}
	return found
}

// cancel forwards a CancelRequest. It is never answered: the client only waits
// for the connection to close.
func (e *Engine) cancel(ctx context.Context, s *proxy.Session, key wire.CancelKey) error {
	target := e.targets.find(key)
	if target == nil {
		s.CountCancelRequest("unknown")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	if err := e.forwardCancel(ctx, target); err != nil {
		s.CountCancelRequest("failed")
		s.Log().Warn("cancel request not forwarded", zap.Error(err))
		return nil
	}
	s.CountCancelRequest("forwarded")
	return nil
}

func (e *Engine) forwardCancel(ctx context.Context, t *cancelTarget) error {
	conn, err := new(net.Dialer).DialContext(ctx, t.addr.Network(), t.addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	return upstream.BreakOff(ctx, conn, func() error {
		link, _, err := backend.Encrypt(ctx, e.Upstream, conn, t.host)
		if err != nil {
			return err
		}
		if _, err := link.Write(t.upstream.Request()); err != nil {
			return err
		}
		// The server closes when it has passed the signal on. What ends a
		// connection does not matter, and without TLS it may well be a reset.
		_, _ = io.Copy(io.Discard, io.LimitReader(link, wire.MaxLoginMessage))
		return nil
	})
}
