package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
)

// cancelTimeout bounds one cancel, from the request to the database's EOF.
const cancelTimeout = 5 * time.Second

// cancel forwards a CancelRequest. It is never answered: the client only waits
// for the connection to close.
func (e *Engine) cancel(ctx context.Context, s *proxy.Session, key wire.CancelKey) error {
	if !e.guesses.take(time.Now()) {
		s.CountCancelRequest("limited")
		s.Log().Warn("cancel requests with keys of no session come too fast; for now none gets through")
		return nil
	}
	result, err := e.CancelKeys.forward(ctx, key)
	if result == unknown && e.CancelElsewhere != nil {
		ctx, cancel := context.WithTimeout(ctx, cancelTimeout+time.Second)
		defer cancel()
		result = e.CancelElsewhere(ctx, key.Request())
	}
	if result != unknown {
		e.guesses.giveBack()
	}
	s.CountCancelRequest(result)
	if err != nil {
		s.Log().Warn("cancel request not forwarded", zap.Error(err))
	}
	return nil
}

// Forward forwards a CancelRequest that came to another process, and returns what became of it:
// "forwarded", "unknown" or "failed".
func (k *CancelKeys) Forward(ctx context.Context, request []byte) (result string, err error) {
	if len(request) < 8 || binary.BigEndian.Uint32(request) != uint32(len(request)) || binary.BigEndian.Uint32(request[4:]) != wire.CodeCancel {
		return unknown, errors.New("not a cancel request")
	}
	key, err := wire.ParseCancel(request[4:])
	if err != nil {
		return unknown, err
	}
	return k.forward(ctx, key)
}

// unknown is what becomes of a cancel request with the key of no session.
const unknown = "unknown"

func (k *CancelKeys) forward(ctx context.Context, key wire.CancelKey) (result string, err error) {
	target := k.find(key)
	if target == nil {
		return unknown, nil
	}
	defer target.underWay.Done()
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	if err := forwardCancel(ctx, target); err != nil {
		target.adrift.Store(true)
		return "failed", err
	}
	return "forwarded", nil
}

func forwardCancel(ctx context.Context, t *cancelTarget) error {
	conn, err := new(net.Dialer).DialContext(ctx, t.addr.Network(), t.addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	return upstream.BreakOff(ctx, conn, func() error {
		link, _, err := backend.Encrypt(ctx, t.dialer, conn, t.host)
		if err != nil {
			return err
		}
		if _, err := link.Write(t.key.Request()); err != nil {
			return err
		}
		// The server closes when it has passed the signal on. What ends a
		// connection does not matter, and without TLS it may well be a reset.
		_, err = io.Copy(io.Discard, io.LimitReader(link, wire.MaxLoginMessage))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err // it is not known when the signal comes
		}
		return nil
	})
}
