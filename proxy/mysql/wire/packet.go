package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
)

// MaxLoginPacket caps the payload of one packet before the relay, in bytes. Connection
// attributes, the largest part, have at most 64 KiB.
const MaxLoginPacket = 128 << 10

// maxPayload is the payload of a full packet, which another one continues (page
// "MySQL Packets").
const maxPayload = 1<<24 - 1

const HeaderSize = 4

// PacketConn reads and writes packets on a connection and counts their sequence
// ids. Each leg has its own count.
type PacketConn struct {
	net.Conn
	R   *bufio.Reader
	W   io.Writer // that writes to Conn
	Seq byte      // of the next packet, in either direction
}

// readAhead is the size of a reader's buffer, in bytes: few packets of a login are longer.
const readAhead = 1 << 10

func NewPacketConn(c net.Conn) *PacketConn {
	return &PacketConn{Conn: c, R: bufio.NewReaderSize(c, readAhead), W: c}
}

// Over returns the connection that goes on inside TLS, with the same count.
func (c *PacketConn) Over(tls net.Conn) *PacketConn {
	inside := NewPacketConn(tls)
	inside.Seq = c.Seq
	return inside
}

// ReadAhead returns what was read ahead, in memory of its own.
func (c *PacketConn) ReadAhead() []byte {
	b, _ := c.R.Peek(c.R.Buffered()) // cannot fail: it is there
	return bytes.Clone(b)
}

// Detach returns what was read ahead, in memory of its own. c is read from again only
// after another PacketConn has taken its place, or after Resume.
func (c *PacketConn) Detach() []byte {
	if c.R == nil {
		return nil // it is detached
	}
	b := c.ReadAhead()
	c.R = nil // its memory is not needed as long as a relay lasts
	return b
}

// Resume puts back what a relay withheld, and starts a new count of packets.
func (c *PacketConn) Resume(withheld []byte) {
	c.R = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(withheld), c.Conn), max(len(withheld), 4096))
	_, _ = c.R.Peek(len(withheld)) // into the buffer, where the next relay looks
	c.Seq = 0
}

// ReadPacket reads the next packet of a handshake and returns its payload, which is
// never empty unless allowed to be.
func (c *PacketConn) ReadPacket() ([]byte, error) {
	var head [HeaderSize]byte
	if _, err := io.ReadFull(c.R, head[:]); err != nil {
		return nil, err
	}
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if n > MaxLoginPacket {
		return nil, fmt.Errorf("a packet of %d bytes, which no login has", n)
	}
	if head[3] != c.Seq {
		return nil, fmt.Errorf("packet number %d where %d is due", head[3], c.Seq)
	}
	c.Seq++
	// Anybody can send a header: memory for a long payload is taken as it comes.
	payload := make([]byte, 0, min(n, 4096))
	for len(payload) < n {
		payload = slices.Grow(payload, 1)
		next := payload[len(payload):min(cap(payload), n)]
		if _, err := io.ReadFull(c.R, next); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		payload = payload[:len(payload)+len(next)]
	}
	return payload, nil
}

// WritePacket sends a payload as the next packet.
func (c *PacketConn) WritePacket(payload []byte) error {
	b := make([]byte, HeaderSize, HeaderSize+len(payload))
	b[0], b[1], b[2], b[3] = byte(len(payload)), byte(len(payload)>>8), byte(len(payload)>>16), c.Seq
	c.Seq++
	_, err := c.W.Write(append(b, payload...))
	return err
}
