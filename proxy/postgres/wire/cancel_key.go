package wire

import (
	"encoding/binary"
	"fmt"
)

const (
	// minCancelSecret and maxCancelSecret bound the secret half of a cancel key,
	// in bytes: 4 in protocol 3.0, up to 256 since 3.2 (section "Message
	// Formats", BackendKeyData).
	minCancelSecret = 4
	maxCancelSecret = 256
)

// CancelKey is what identifies a session to a CancelRequest.
type CancelKey struct {
	PID    uint32
	Secret []byte
}

// ParseCancel parses a CancelRequest without its length word.
func ParseCancel(b []byte) (CancelKey, error) {
	return ParseKey(b[4:])
}

// ParseKey parses a process id and a secret: the body of BackendKeyData.
func ParseKey(b []byte) (CancelKey, error) {
	if len(b) < 4+minCancelSecret || len(b) > 4+maxCancelSecret {
		return CancelKey{}, fmt.Errorf("a cancel key of %d bytes", len(b))
	}
	return CancelKey{binary.BigEndian.Uint32(b), b[4:]}, nil
}

func (k CancelKey) append(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, k.PID), k.Secret...)
}

// BackendKeyData encodes the key as the server's message K.
func (k CancelKey) BackendKeyData() []byte {
	b := binary.BigEndian.AppendUint32([]byte{'K'}, uint32(8+len(k.Secret)))
	return k.append(b)
}

// Request encodes the key as a CancelRequest.
func (k CancelKey) Request() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(12+len(k.Secret)))
	return k.append(binary.BigEndian.AppendUint32(b, CodeCancel))
}
