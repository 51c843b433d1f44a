package mysql

import (
	"bytes"
	"encoding/binary"
	"errors"
)

var errTruncated = errors.New("the packet is truncated")

// fields takes a payload apart from the front. After the first failure every
// take returns zero values and err stays.
type fields struct {
	b   []byte
	err error
}

func (f *fields) take(n int) []byte {
	if f.err != nil || n < 0 || n > len(f.b) {
		f.err = errTruncated
		return nil
	}
	out := f.b[:n:n]
	f.b = f.b[n:]
	return out
}

func (f *fields) byte() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if b := f.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// text takes a string up to its NUL. As servers do, it takes the rest of the
// packet for a last string whose NUL a client left out.
func (f *fields) text() string {
	if f.err != nil {
		return ""
	}
	s, rest, _ := bytes.Cut(f.b, []byte{0})
	f.b = rest
	return string(s)
}

// counted takes a length-encoded integer and as many bytes (page "Protocol Basic
// Data Types").
func (f *fields) counted() []byte {
	size := 0
	switch first := f.byte(); first {
	case 0xfc:
		size = 2
	case 0xfd:
		size = 3
	case 0xfe:
		size = 8
	case 0xfb, 0xff: // NULL, and an error's first byte: neither counts anything
		f.err = errTruncated
	default:
		return f.take(int(first))
	}
	var n uint64
	for i, b := range f.take(size) {
		n |= uint64(b) << (8 * i)
	}
	if n > uint64(len(f.b)) {
		f.err = errTruncated
		return nil
	}
	return f.take(int(n))
}

func appendText(b []byte, s string) []byte { return append(append(b, s...), 0) }
