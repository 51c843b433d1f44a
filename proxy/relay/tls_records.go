package relay

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
)

// recordHeader is the length of what begins a record of TLS, in bytes: its type,
// its version, its length (RFC 8446, 5.1).
const recordHeader = 5

// NewRecordConn returns conn as crypto/tls should get it, so that a relay can wait for
// it without holding a buffer and read several records at a time. ahead is what
// was read from conn already.
func NewRecordConn(conn net.Conn, ahead []byte) net.Conn {
	return &recordConn{Conn: conn, pending: ahead, socket: newPlainReader(conn), sink: NewWriter(conn)}
}

// recordConn is the connection below TLS. It gives crypto/tls never more than the
// record it asks for, and so knows whether there is another whole one. While it is
// relayed a read never waits.
type recordConn struct {
	net.Conn
	socket  *plainReader // of Conn; nil: it cannot be waited for
	sink    io.Writer    // of Conn, too
	pending []byte       // read from Conn; in the memory of socket, but for what was read ahead
	left    int          // bytes missing of the record that pending begins with; 0: not known
	err     error        // of Conn, once nothing is pending
	relayed bool
}

// frame finds out where the record ends.
func (b *recordConn) frame() {
	if b.left == 0 && len(b.pending) >= recordHeader {
		b.left = recordHeader + int(binary.BigEndian.Uint16(b.pending[3:]))
	}
}

// ready reports whether crypto/tls can go on without waiting. It is not made to wait
// for a record that is longer than any: it will refuse it.
func (b *recordConn) ready() bool {
	b.frame()
	return b.left > 0 && b.left <= len(b.pending) || b.err != nil || len(b.pending) > maxRest
}

// await reads more from the connection. It fails only when the deadline is over;
// other errors are for crypto/tls to judge.
func (b *recordConn) await() error {
	b.pending, b.err = b.socket.next(b.pending)
	if errors.Is(b.err, os.ErrDeadlineExceeded) {
		err := b.err
		b.err = nil
		return err
	}
	return nil
}

// Read implements net.Conn for crypto/tls.
func (b *recordConn) Read(p []byte) (int, error) {
	switch {
	case b.socket == nil && len(b.pending) == 0:
		return b.Conn.Read(p)
	case b.relayed && !b.ready():
		return 0, errNotYet
	}
	for b.frame(); b.socket != nil && b.err == nil && (b.left == 0 || len(b.pending) == 0); b.frame() {
		if err := b.await(); err != nil {
			return 0, err
		}
	}
	if len(b.pending) == 0 {
		return 0, b.err
	}
	n := len(b.pending)
	if b.left > 0 {
		n = min(n, b.left)
	}
	n = copy(p, b.pending[:n])
	b.pending = b.pending[n:]
	b.left = max(0, b.left-n)
	return n, nil
}

// Write implements net.Conn. crypto/tls has one caller at a time.
func (b *recordConn) Write(p []byte) (int, error) { return b.sink.Write(p) }

// NetConn returns the connection below.
func (b *recordConn) NetConn() net.Conn { return b.Conn }

// errNotYet tells crypto/tls that there is nothing to read right now. It is
// temporary, as a read past its deadline is: crypto/tls keeps what it has of a
// record and goes on with it at the next read (Conn.readRecordOrCCS).
var errNotYet net.Error = notYet{}

type notYet struct{}

func (notYet) Error() string   { return "nothing to read yet" }
func (notYet) Timeout() bool   { return true }
func (notYet) Temporary() bool { return true }
