package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/relay"
)

// CancelOnClientClose returns a context that ends when the client closes its connection,
// for the time in which credproxy has nothing to read from it. What the client
// sends meanwhile stays in r. Call stop before reading on; it takes the read
// deadline away.
func CancelOnClientClose(ctx context.Context, client net.Conn, r *bufio.Reader) (_ context.Context, stop func()) {
	_ = client.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if _, err := r.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel(&fault.Error{Kind: fault.ClientGone, Message: "the client left before it was logged in", Err: noEOF(err)})
		}
	}()
	return ctx, func() {
		_ = client.SetReadDeadline(relay.Past)
		<-watched
		_ = client.SetReadDeadline(time.Time{})
		cancel(context.Canceled)
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return errors.New("it closed the connection")
	}
	return err
}
