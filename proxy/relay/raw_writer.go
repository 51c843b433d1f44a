package relay

import (
	"io"
	"net"
	"os"
	"syscall"
)

// rawWriter writes to a socket, by one caller at a time. It keeps the deadlines of the
// connection.
type rawWriter struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // the method, made a value once
	b   []byte
	n   int // bytes of b that are written
	err error
}

// NewWriter returns what writes to c as a relay does, if c is a socket: without telling Go's
// scheduler, which takes a write that wakes the other end for one that blocks. It is for one
// caller at a time, and keeps the deadlines of c. Where c is no socket, or on a system on
// which one cannot be waited for, it is c itself.
func NewWriter(c net.Conn) io.Writer {
	raw := rawConn(c)
	if raw == nil {
		return c
	}
	s := &rawWriter{raw: raw}
	s.try = s.write
	return s
}

// rawConn returns nil if c cannot be waited for.
func rawConn(c net.Conn) syscall.RawConn {
	s, ok := c.(syscall.Conn)
	if !ok || !canAwait {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// Write implements io.Writer.
func (s *rawWriter) Write(b []byte) (int, error) {
	s.b, s.n, s.err = b, 0, nil
	err := s.raw.Write(s.try)
	if err == nil {
		err = os.NewSyscallError("write", s.err)
	}
	s.b = nil
	return s.n, err
}

// write is called when there may be room, and reports whether all is written.
func (s *rawWriter) write(fd uintptr) bool {
	for s.n < len(s.b) && s.err == nil {
		var n int
		n, s.err = writeSocket(fd, s.b[s.n:])
		s.n += n
	}
	if s.err == syscall.EAGAIN {
		s.err = nil
		return false
	}
	return true
}
