package postgres

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// maxLoginMessage caps one message of the server during login, in bytes with its
// header. The largest that occur are error messages and parameter values of a
// few kilobytes.
const maxLoginMessage = 256 << 10

// message is one message of the server: a type byte, a length that counts
// itself, a body (section "Message Formats").
type message struct {
	raw []byte // all of it, as it came
}

func (m message) kind() byte   { return m.raw[0] }
func (m message) body() []byte { return m.raw[5:] }

// readMessage reads one message. It trusts the length only up to the cap.
func readMessage(r *bufio.Reader) (message, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return message{}, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > maxLoginMessage-1 {
		return message{}, fmt.Errorf("message %q has a length of %d bytes, which no login message has", head[0], n)
	}
	raw := make([]byte, 1+n)
	copy(raw, head[:])
	if _, err := io.ReadFull(r, raw[5:]); err != nil {
		return message{}, noEOF(err)
	}
	return message{raw}, nil
}

// noEOF turns an end in the middle of something into what it is.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
