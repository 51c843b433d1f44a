package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// MaxLoginMessage caps one message of the server during login, in bytes with its
// header. The largest that occur are error messages and parameter values of a
// few kilobytes.
const MaxLoginMessage = 256 << 10

// Message is one message of the server: a type byte, a length that counts
// itself, a body (section "Message Formats").
type Message struct {
	Raw []byte // all of it, as it came
}

func (m Message) Kind() byte   { return m.Raw[0] }
func (m Message) Body() []byte { return m.Raw[5:] }

// ReadMessage reads one message. It trusts the length only up to the cap.
func ReadMessage(r *bufio.Reader) (Message, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Message{}, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > MaxLoginMessage-1 {
		return Message{}, fmt.Errorf("message %q has a length of %d bytes, which no login message has", head[0], n)
	}
	raw := make([]byte, 1+n)
	copy(raw, head[:])
	if _, err := io.ReadFull(r, raw[5:]); err != nil {
		return Message{}, noEOF(err)
	}
	return Message{raw}, nil
}

// noEOF turns an end in the middle of something into what it is.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
