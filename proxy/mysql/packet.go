package mysql

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"

	"github.com/credproxy/credproxy/proxy/relay"
)

// maxLoginPacket caps the payload of one packet before the relay, in bytes. The
// server's own cap is max_allowed_packet; connection attributes, the largest
// part, have at most 64 KiB.
const maxLoginPacket = 1 << 20

// maxPayload is the payload of a full packet, which another one continues (page
// "MySQL Packets").
const maxPayload = 1<<24 - 1

const headerSize = 4

// packetConn reads and writes packets on a connection and counts their sequence
// ids. Each leg has its own count.
type packetConn struct {
	net.Conn
	r   *bufio.Reader
	seq byte // of the next packet, in either direction
}

func newPacketConn(c net.Conn) *packetConn {
	return &packetConn{Conn: c, r: bufio.NewReader(c)}
}

// over returns the connection that goes on inside TLS, with the same count.
func (c *packetConn) over(tls net.Conn) *packetConn {
	inside := newPacketConn(tls)
	inside.seq = c.seq
	return inside
}

// buffered returns what was read ahead, in memory of its own.
func (c *packetConn) buffered() []byte {
	b, _ := c.r.Peek(c.r.Buffered()) // cannot fail: it is there
	return bytes.Clone(b)
}

// leg hands the connection over to a relay. It is read from again only after
// another packetConn has taken its place, or another reader that of r.
func (c *packetConn) leg() relay.Leg {
	l := relay.Leg{Conn: c.Conn, Buffered: c.buffered()}
	c.r = nil // its memory is not needed as long as the relay lasts
	return l
}

// read reads the next packet of a handshake and returns its payload, which is
// never empty unless allowed to be.
func (c *packetConn) read() ([]byte, error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, err
	}
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if n > maxLoginPacket {
		return nil, fmt.Errorf("a packet of %d bytes, which no login has", n)
	}
	if head[3] != c.seq {
		return nil, fmt.Errorf("packet number %d where %d is due", head[3], c.seq)
	}
	c.seq++
	// Anybody can send a header: memory for a long payload is taken as it comes.
	var payload bytes.Buffer
	payload.Grow(min(n, 4096) + bytes.MinRead)
	if _, err := io.CopyN(&payload, c.r, int64(n)); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return payload.Bytes(), nil
}

// write sends a payload as the next packet.
func (c *packetConn) write(payload []byte) error {
	b := make([]byte, headerSize, headerSize+len(payload))
	b[0], b[1], b[2], b[3] = byte(len(payload)), byte(len(payload)>>8), byte(len(payload)>>16), c.seq
	c.seq++
	_, err := c.Conn.Write(append(b, payload...))
	return err
}
