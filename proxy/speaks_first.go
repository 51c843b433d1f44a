package proxy

import (
	"net"
	"syscall"
	"time"
)

// SpeaksFirst reports whether the client sends something, or leaves, within patience:
// who speaks PostgreSQL does, and who speaks MySQL waits to be greeted. What it sent
// stays to be read. It sets the read deadline of c.
func SpeaksFirst(c net.Conn, patience time.Duration) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil || c.SetReadDeadline(time.Now().Add(patience)) != nil {
		return false
	}
	var peeked error
	err = raw.Read(func(fd uintptr) (done bool) {
		peeked = peek(fd)
		return peeked != syscall.EAGAIN
	})
	return err == nil && peeked == nil
}
