package relay

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// AwaitQuiet waits until ctx ends, and then reports true, while nothing is to be read from a
// connection that was relayed; it reports false once something is, or the connection has
// ended. If ctx has ended before, it reports what holds at that moment. It reads nothing, and
// holds no buffer. Where a connection cannot be waited for it reports false at once.
func AwaitQuiet(ctx context.Context, c net.Conn) (quiet bool) {
	if t, ok := c.(*tls.Conn); ok {
		b, ok := t.NetConn().(*recordConn)
		if !ok || b.socket == nil || len(b.pending) > 0 {
			return false
		}
		b.pending = nil // it is of no length, but in the buffer
		b.socket.end()
		c = b.Conn
	}
	raw := rawConn(c)
	if raw == nil {
		return false
	}
	said := false
	if ctx.Err() != nil {
		err := raw.Control(func(fd uintptr) { said = readable(fd) })
		return err == nil && !said
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(Past); close(ended) })
	err := raw.Read(func(fd uintptr) bool {
		said = readable(fd)
		return said
	})
	if !stop() {
		<-ended
	}
	_ = c.SetReadDeadline(time.Time{})
	return err != nil && !said && ctx.Err() != nil
}
