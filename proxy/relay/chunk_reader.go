package relay

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"syscall"
)

// chunkReader is where a copier reads from.
type chunkReader interface {
	// next waits for bytes and returns them after rest, which is the end of what
	// it returned before. They are good until the next call. With an error it
	// returns rest.
	next(rest []byte) ([]byte, error)
	// end gives the memory back.
	end()
}

// newChunkReader returns a source that holds a buffer only while there is something in
// it, if c can be waited for, and else one that always holds one.
func newChunkReader(c net.Conn) chunkReader {
	if t, ok := c.(*tls.Conn); ok {
		if below, ok := t.NetConn().(*recordConn); ok && below.socket != nil {
			below.relayed = true
			return &tlsReader{conn: t, below: below}
		}
	} else if p := newPlainReader(c); p != nil {
		return p
	}
	return &holdingReader{conn: c}
}

// plainReader reads from a socket. It takes a buffer when the kernel says that
// there is something to read.
type plainReader struct {
	raw  syscall.RawConn
	try  func(fd uintptr) bool // the method, made a value once
	buf  *buffer               // nil while nothing is there
	kept int                   // bytes of buf that were there before
	n    int                   // bytes of buf after them
	err  error
}

// newPlainReader returns nil if c is not a socket, or on a system on which a
// socket cannot be waited for.
func newPlainReader(c net.Conn) *plainReader {
	raw := rawConn(c)
	if raw == nil {
		return nil
	}
	p := &plainReader{raw: raw}
	p.try = p.read
	return p
}

func (p *plainReader) next(rest []byte) ([]byte, error) {
	if len(rest) > maxRest {
		return rest, errTooMuchRest
	}
	if len(rest) > 0 && p.buf == nil {
		p.buf = buffers.Get().(*buffer)
	}
	if len(rest) > 0 {
		copy(p.buf[:], rest)
	}
	p.kept, p.n, p.err = len(rest), 0, nil
	err := p.raw.Read(p.try)
	switch {
	case err != nil:
	case p.err != nil:
		err = os.NewSyscallError("read", p.err)
	case p.n == 0:
		err = io.EOF
	}
	if p.buf == nil { // nothing was there, before or now
		return nil, err
	}
	return p.buf[:p.kept+p.n], err
}

// read is called when there may be something to read, and reports whether there
// was. The first call of each wait comes unasked: an event that came since the
// last read would else be missed.
func (p *plainReader) read(fd uintptr) bool {
	if p.buf == nil {
		p.buf = buffers.Get().(*buffer)
	}
	p.n, p.err = readSocket(fd, p.buf[p.kept:])
	if p.err != syscall.EAGAIN {
		return true
	}
	if p.kept == 0 {
		p.end()
	}
	return false
}

func (p *plainReader) end() {
	if p.buf != nil {
		buffers.Put(p.buf)
		p.buf = nil
	}
}

// tlsReader reads from TLS: it waits for the socket below and takes out all
// records that are whole.
//
// While nothing flows crypto/tls itself keeps a buffer as large as the largest
// record yet.
type tlsReader struct {
	conn  *tls.Conn
	below *recordConn
	out   *buffer // nil while nothing is there
	begun bool
}

func (t *tlsReader) next(rest []byte) ([]byte, error) {
	if len(rest) > maxRest {
		return rest, errTooMuchRest
	}
	for {
		// The first time crypto/tls itself may have something left.
		if !t.begun || t.below.ready() {
			t.begun = true
			n, err := t.records(rest)
			if n > len(rest) || err != nil {
				return t.out[:n], err
			}
			rest = t.out[:n]
		}
		if len(rest) == 0 {
			t.release()
		}
		if err := t.below.await(); err != nil {
			return rest, err
		}
	}
}

// records fills out, after rest, with the content of records, until there is no
// whole one left or there may be no room for another.
func (t *tlsReader) records(rest []byte) (n int, err error) {
	if t.out == nil {
		t.out = buffers.Get().(*buffer)
	}
	n = copy(t.out[:], rest)
	for bufferSize-n >= maxRecord {
		m, err := t.conn.Read(t.out[n:])
		n += m
		if err == errNotYet { // the last record was for crypto/tls
			return n, nil
		}
		if err != nil || !t.below.ready() {
			return n, err
		}
	}
	return n, nil
}

func (t *tlsReader) release() {
	if t.out != nil {
		buffers.Put(t.out)
		t.out = nil
	}
}

func (t *tlsReader) end() {
	t.release()
	t.below.relayed = false
	if len(t.below.pending) == 0 {
		t.below.socket.end()
	}
}

// holdingReader reads from what cannot be waited for.
type holdingReader struct {
	conn net.Conn
	buf  *buffer
}

func (h *holdingReader) next(rest []byte) ([]byte, error) {
	if len(rest) > maxRest {
		return rest, errTooMuchRest
	}
	if h.buf == nil {
		h.buf = buffers.Get().(*buffer)
	}
	n := copy(h.buf[:], rest)
	m, err := h.conn.Read(h.buf[n:])
	return h.buf[:n+m], err
}

func (h *holdingReader) end() {
	if h.buf != nil {
		buffers.Put(h.buf)
	}
}
