package postgres

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/upstream"
)

const (
	// minCancelSecret and maxCancelSecret bound the secret half of a cancel key,
	// in bytes: 4 in protocol 3.0, up to 256 since 3.2 (section "Message
	// Formats", BackendKeyData).
	minCancelSecret = 4
	maxCancelSecret = 256
	// cancelTimeout bounds one cancel, from the request to the database's EOF.
	cancelTimeout = 5 * time.Second
)

// cancelKey is what identifies a session to a CancelRequest.
type cancelKey struct {
	pid    uint32
	secret []byte
}

// parseCancel parses a CancelRequest without its length word.
func parseCancel(b []byte) (cancelKey, error) {
	return parseKey(b[4:], "cancel request")
}

// parseKey parses a process id and a secret: the body of BackendKeyData.
func parseKey(b []byte, what string) (cancelKey, error) {
	if len(b) < 4+minCancelSecret || len(b) > 4+maxCancelSecret {
		return cancelKey{}, silent(fmt.Errorf("%s with a key of %d bytes", what, len(b)))
	}
	return cancelKey{binary.BigEndian.Uint32(b), b[4:]}, nil
}

func (k cancelKey) append(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, k.pid), k.secret...)
}

// backendKeyData encodes the key as the server's message K.
func (k cancelKey) backendKeyData() []byte {
	b := binary.BigEndian.AppendUint32([]byte{'K'}, uint32(8+len(k.secret)))
	return k.append(b)
}

// request encodes the key as a CancelRequest.
func (k cancelKey) request() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(12+len(k.secret)))
	return k.append(binary.BigEndian.AppendUint32(b, codeCancel))
}

// cancelTarget is a session that can be cancelled.
type cancelTarget struct {
	secret   []byte    // given to the client; as long as the database's own
	upstream cancelKey // the database's own key
	addr     net.Addr  // where the session is: another address may be another server
	host     string    // whose certificate to expect there
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
func (t *cancelTargets) add(upstream cancelKey, addr net.Addr, host string) (key cancelKey, remove func()) {
	target := &cancelTarget{secret: make([]byte, len(upstream.secret)), upstream: upstream, addr: addr, host: host}
	_, _ = rand.Read(target.secret) // never fails: crypto/rand
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byPID == nil {
		t.byPID = map[uint32][]*cancelTarget{}
	}
	t.byPID[upstream.pid] = append(t.byPID[upstream.pid], target)
	return cancelKey{upstream.pid, target.secret}, func() { t.remove(target) }
}

func (t *cancelTargets) remove(target *cancelTarget) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pid := target.upstream.pid
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
func (t *cancelTargets) find(key cancelKey) *cancelTarget {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found *cancelTarget
	for _, target := range t.byPID[key.pid] {
		if subtle.ConstantTimeCompare(target.secret, key.secret) == 1 {
			found = target
		}
	}
	return found
}

// cancel forwards a CancelRequest. It is never answered: the client only waits
// for the connection to close.
func (e *Engine) cancel(ctx context.Context, s *proxy.Session, key cancelKey) error {
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
	stop := upstream.BreakOff(ctx, conn)
	defer stop()
	link, _, err := e.encrypt(ctx, conn, t.host)
	if err != nil {
		return err
	}
	if _, err := link.Write(t.upstream.request()); err != nil {
		return err
	}
	// The server closes when it has passed the signal on. What ends a
	// connection does not matter, and without TLS it may well be a reset.
	_, _ = io.Copy(io.Discard, io.LimitReader(link, maxLoginMessage))
	return ctx.Err()
}
