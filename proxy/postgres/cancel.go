package postgres

import (
	"context"
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
	target := e.CancelKeys.find(key)
	if target == nil {
		s.CountCancelRequest("unknown")
		return nil
	}
	defer target.underWay.Done()
	e.guesses.giveBack()
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	if err := forwardCancel(ctx, target); err != nil {
		target.adrift.Store(true)
		s.CountCancelRequest("failed")
		s.Log().Warn("cancel request not forwarded", zap.Error(err))
		return nil
	}
	s.CountCancelRequest("forwarded")
	return nil
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
