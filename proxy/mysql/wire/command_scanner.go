package wire

import (
	"github.com/go-mysql-org/go-mysql/mysql"
)

// CommandScanner finds the COM_CHANGE_USER in what a client sends after login. It looks
// at packet headers and at the first byte of each command.
//
// A packet with sequence id 0 begins a command, with two exceptions: it may
// continue a payload of 16 MiB or more, or it may be a piece of a file for LOAD
// DATA LOCAL, whose ids go up by one and wrap from 255 to 0. Such a file ends
// with an empty packet.
type CommandScanner struct {
	skip    int // bytes of the packet under way that are still to come
	last    int // length of the payload before
	lastSeq byte
}

// Scan implements relay.Leg.Scan: it passes everything up to a COM_CHANGE_USER,
// and keeps back a header whose command is still to come.
func (s *CommandScanner) Scan(b []byte) (pass int, stop bool) {
	return s.scan(b, func(_ int, _ bool, command byte) bool { return command == mysql.COM_CHANGE_USER })
}

// scan shows each packet to stopAt before it passes: its length, whether it begins a
// command, and then which, unless it is empty.
func (s *CommandScanner) scan(b []byte, stopAt func(size int, begins bool, command byte) bool) (pass int, stop bool) {
	for {
		step := min(s.skip, len(b)-pass)
		pass += step
		s.skip -= step
		head := b[pass:]
		if len(head) < HeaderSize {
			return pass, false
		}
		size, seq := int(head[0])|int(head[1])<<8|int(head[2])<<16, head[3]
		begins := seq == 0 && s.last != maxPayload && (s.lastSeq != 255 || s.last == 0)
		command := byte(0) // COM_SLEEP, which no client sends
		if begins && size > 0 {
			if len(head) == HeaderSize {
				return pass, false
			}
			command = head[HeaderSize]
		}
		if stopAt(size, begins, command) {
			return pass, true
		}
		s.last, s.lastSeq, s.skip = size, seq, HeaderSize+size
	}
}
