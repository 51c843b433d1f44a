package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrLength is a packet without a type byte whose length no such packet has.
var ErrLength = errors.New("invalid length of startup packet")

// ReadPacket reads a packet without a type byte: startup, cancel, or a request
// for encryption. The packet is returned without its length word and holds at
// least the 4 bytes of the code. The error is ErrLength, or that of r.
func ReadPacket(r *bufio.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < minStartupPacket || n > MaxStartupPacket {
		return nil, fmt.Errorf("%w: %d bytes", ErrLength, n)
	}
	packet := make([]byte, n-4)
	if _, err := io.ReadFull(r, packet); err != nil {
		return nil, noEOF(err)
	}
	return packet, nil
}
