package wire

import (
	"encoding/binary"
	"slices"
)

// frames finds where messages begin and end in a stream, of which it is shown one piece
// after another. It looks at headers alone.
type frames struct {
	head [headerSize]byte
	have int    // bytes of head
	left uint64 // bytes of the body that are still to come
	lost bool   // a length that no message has: nothing is known from here on
}

// headerSize is a type byte and the length, which counts itself.
const headerSize = 5

// next takes the rest of a header from b. It reports whether the header is whole; body is
// the length that it tells.
func (f *frames) next(b []byte) (rest []byte, kind byte, body uint64, whole bool) {
	n := copy(f.head[f.have:], b)
	if f.have += n; f.have < headerSize {
		return b[n:], 0, 0, false
	}
	f.have = 0
	size := binary.BigEndian.Uint32(f.head[1:])
	if size < 4 || size > 1<<30 { // PQ_LARGE_MESSAGE_LIMIT, 1 GiB
		f.lost = true
		return nil, 0, 0, false
	}
	f.left = uint64(size) - 4
	return b[n:], f.head[0], f.left, true
}

// atBoundary reports whether a message has ended and none begun.
func (f *frames) atBoundary() bool { return !f.lost && f.have == 0 && f.left == 0 }

// ClientFrames counts what a client asks for, after its startup packet. The zero value is
// ready to use.
type ClientFrames struct {
	frames
	// Expected is how many ReadyForQuery the messages so far have coming.
	expected int
	unsynced bool // a message of the extended protocol was not followed by Sync
	odd      bool // a message that no client sends here
}

// Scan is a relay.Leg.Scan: it passes everything up to a Terminate, and stops there.
func (c *ClientFrames) Scan(b []byte) (pass int, stop bool) {
	rest := b
	for len(rest) > 0 && !c.lost {
		if c.left > 0 {
			n := min(c.left, uint64(len(rest)))
			rest, c.left = rest[n:], c.left-n
			continue
		}
		if c.have == 0 && rest[0] == 'X' {
			if len(rest) < headerSize {
				return len(b) - len(rest), false // shown again with more
			}
			return len(b) - len(rest), true
		}
		var kind byte
		var whole bool
		if rest, kind, _, whole = c.next(rest); !whole {
			continue
		}
		switch kind {
		case 'Q', 'F':
			c.expected++
		case 'S':
			c.expected++
			c.unsynced = false
		case 'P', 'B', 'D', 'E', 'C', 'H':
			c.unsynced = true
		case 'd', 'c', 'f':
		default:
			c.odd = true
		}
	}
	return len(b), false
}

// terminate is the whole message.
var terminate = []byte{'X', 0, 0, 0, 4}

// maxStatus caps the body of a ParameterStatus, and maxStatuses how many different ones
// there may be: servers have 15 or so.
const (
	maxStatus   = 64 << 10
	maxStatuses = 64
)

// ServerFrames follows what a server says in a session that has begun. The zero value is
// ready to use.
type ServerFrames struct {
	frames
	ready    int // ReadyForQuery so far
	state    byte
	kind     byte   // of the message under way
	body     []byte // of a ReadyForQuery or a ParameterStatus under way
	odd      bool
	Statuses []Param // the parameters as last reported, in the order of their first report
}

// Scan is a relay.Leg.Scan that passes everything.
func (s *ServerFrames) Scan(b []byte) (pass int, stop bool) {
	rest := b
	for len(rest) > 0 && !s.lost {
		if s.left > 0 {
			n := min(s.left, uint64(len(rest)))
			if s.kind == 'Z' || s.kind == 'S' {
				s.body = append(s.body, rest[:n]...)
			}
			rest, s.left = rest[n:], s.left-n
			if s.left == 0 {
				s.message()
			}
			continue
		}
		var body uint64
		var whole bool
		if rest, s.kind, body, whole = s.next(rest); !whole {
			continue
		}
		switch {
		case s.kind == 'Z' && body != 1, s.kind == 'S' && body > maxStatus:
			s.odd, s.kind = true, 0
		case body == 0:
			s.message()
		}
	}
	return len(b), false
}

// message is called at the end of each message.
func (s *ServerFrames) message() {
	switch s.kind {
	case 'Z':
		s.state = s.body[0]
		s.ready++
	case 'S':
		s.status(s.body)
	case 'W': // copy both: replication, which does not come back from it as a query does
		s.odd = true
	}
	s.body = s.body[:0]
}

// status notes a ParameterStatus.
func (s *ServerFrames) status(body []byte) {
	name, value, ok := cutStrings(body)
	if !ok {
		s.odd = true
		return
	}
	i := slices.IndexFunc(s.Statuses, func(p Param) bool { return p.Name == name })
	switch {
	case i >= 0:
		s.Statuses[i].Value = value
	case len(s.Statuses) < maxStatuses:
		s.Statuses = append(s.Statuses, Param{name, value})
	default:
		s.odd = true
	}
}

// cutStrings takes two strings, each with its NUL.
func cutStrings(b []byte) (first, second string, ok bool) {
	i := slices.Index(b, 0)
	if i < 0 {
		return "", "", false
	}
	j := slices.Index(b[i+1:], 0)
	if j < 0 || i+1+j+1 != len(b) {
		return "", "", false
	}
	return string(b[:i]), string(b[i+1 : i+1+j]), true
}

// Clean reports whether a session in which c and s have seen everything from its beginning
// stands where another client could go on: the client said no more than withheld, which is
// its Terminate; each of its messages is whole and was answered; no transaction is open.
func Clean(c *ClientFrames, s *ServerFrames, withheld []byte) bool {
	return slices.Equal(withheld, terminate) && c.atBoundary() && s.atBoundary() &&
		!c.odd && !s.odd && !c.unsynced && s.ready == c.expected && (s.ready == 0 || s.state == 'I')
}
