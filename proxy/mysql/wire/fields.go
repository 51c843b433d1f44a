package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
)

var ErrTruncated = errors.New("the packet is truncated")

// Fields takes a payload apart from the front. After the first failure every
// take returns zero values and err stays.
type Fields struct {
	Rest []byte
	Err  error
}

func (f *Fields) take(n int) []byte {
	if f.Err != nil || n < 0 || n > len(f.Rest) {
		f.Err = ErrTruncated
		return nil
	}
	out := f.Rest[:n:n]
	f.Rest = f.Rest[n:]
	return out
}

func (f *Fields) byte() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *Fields) uint32() uint32 {
	if b := f.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// Text takes a string up to its NUL. As servers do, it takes the rest of the
// packet for a last string whose NUL a client left out.
func (f *Fields) Text() string {
	if f.Err != nil {
		return ""
	}
	s, rest, _ := bytes.Cut(f.Rest, []byte{0})
	f.Rest = rest
	return string(s)
}

// counted takes a length-encoded integer and as many bytes (page "Protocol Basic
// Data Types").
func (f *Fields) counted() []byte {
	size := 0
	switch first := f.byte(); first {
	case 0xfc:
		size = 2
	case 0xfd:
		size = 3
	case 0xfe:
		size = 8
	case 0xfb, 0xff: // NULL, and an error's first byte: neither counts anything
		f.Err = ErrTruncated
	default:
		return f.take(int(first))
	}
	var n uint64
	for i, b := range f.take(size) {
		n |= uint64(b) << (8 * i)
	}
	if n > uint64(len(f.Rest)) {
		f.Err = ErrTruncated
		return nil
	}
	return f.take(int(n))
}

func AppendText(b []byte, s string) []byte { return append(append(b, s...), 0) }
