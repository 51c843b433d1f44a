package mysql

import (
	"bufio"
	"compress/zlib"
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// frameHeader is the length of what begins a frame of the compressed protocol, in bytes:
// the length of the rest, a number, and the length of what is in it, 0 if it is not
// compressed (page "Compression").
const frameHeader = 7

// maxFrame is the most that a frame holds, in bytes.
const maxFrame = 1<<24 - 1

// framedConn is the connection to a client that has set CLIENT_COMPRESS, from the OK of
// its login on: PHP sets the flag whatever the greeting offers. What the client sends may
// be compressed, what it gets is framed alone: it is a neighbour.
type framedConn struct {
	net.Conn
	r *bufio.Reader // of Conn

	frame io.LimitedReader // what is to come of the frame
	zlib  io.ReadCloser    // of frame; nil before the first that is compressed
	body  io.Reader        // frame or zlib; nil between two frames
	left  int              // bytes to come out of body

	number atomic.Uint32 // of the next frame, in either direction
	wrote  atomic.Bool   // the last frame was ours
	out    []byte        // for Write
}

// newFramedConn returns c with the frames taken off. ahead is what was read from it already.
func newFramedConn(c net.Conn, ahead io.Reader) *framedConn {
	return &framedConn{Conn: c, r: bufio.NewReader(io.MultiReader(ahead, c))}
}

var (
	errFrameLong  = errors.New("a compressed packet is longer than it says")
	errFrameShort = errors.New("a compressed packet is shorter than it says")
)

// Read implements net.Conn.
func (c *framedConn) Read(b []byte) (n int, err error) {
	for n == 0 && err == nil && len(b) > 0 {
		if c.body == nil {
			err = c.begin()
			continue
		}
		n, err = c.body.Read(b)
		switch c.left -= n; {
		case c.left < 0:
			return 0, errFrameLong
		case err == io.EOF && c.left > 0:
			err = errFrameShort
			if c.frame.N > 0 {
				err = io.ErrUnexpectedEOF
			}
		case err == io.EOF && c.frame.N > 0:
			err = errFrameLong
		case err == io.EOF:
			c.body, err = nil, nil
		}
	}
	return n, err
}

// begin reads the header of the next frame.
func (c *framedConn) begin() error {
	head, err := c.r.Peek(frameHeader)
	if err == io.EOF && len(head) > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	size := func(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
	c.frame = io.LimitedReader{R: c.r, N: int64(size(head))}
	number, unpacked := head[3], size(head[4:])
	_, _ = c.r.Discard(frameHeader) // cannot fail: it is there
	c.number.Store(uint32(number) + 1)
	c.wrote.Store(false)
	if unpacked == 0 {
		c.body, c.left = &c.frame, int(c.frame.N)
		return nil
	}
	if c.zlib == nil {
		c.zlib, err = zlib.NewReader(&c.frame)
	} else {
		err = c.zlib.(zlib.Resetter).Reset(&c.frame, nil)
	}
	c.body, c.left = c.zlib, unpacked
	return err
}

// Write implements net.Conn.
func (c *framedConn) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		part := b[:min(len(b), maxFrame)]
		size := len(part)
		c.out = append(c.out[:0], byte(size), byte(size>>8), byte(size>>16), byte(c.number.Add(1)-1), 0, 0, 0)
		c.out = append(c.out, part...)
		c.wrote.Store(true)
		var sent int
		sent, err = c.Conn.Write(c.out)
		n += max(0, sent-frameHeader)
		b = b[size:]
	}
	return n, err
}

// answerNext makes the next frame the first of the answer to a command that the client
// has yet to send, if it has sent nothing since it was last written to.
func (c *framedConn) answerNext() {
	if c.wrote.Load() {
		c.number.Store(1)
	}
}

// NetConn returns the connection below.
func (c *framedConn) NetConn() net.Conn { return c.Conn }
