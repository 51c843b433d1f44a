package wire

import (
	"bytes"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// ClientCommands counts what a client asks for after its login, and finds the commands that
// credproxy answers itself: COM_CHANGE_USER, and COM_QUIT. The zero value is ready to use.
type ClientCommands struct {
	CommandScanner
	expected uint64 // answers to the commands so far
	odd      bool   // something that no idle session is known to follow
}

// Scan is a relay.Leg.Scan, as [CommandScanner]'s.
func (c *ClientCommands) Scan(b []byte) (pass int, stop bool) { return c.scan(b, c.command) }

// command sees each packet.
func (c *ClientCommands) command(size int, begins bool, what byte) (stop bool) {
	if begins && (what == mysql.COM_QUIT || what == mysql.COM_CHANGE_USER) {
		return true
	}
	if !begins || size == 0 || size == maxPayload {
		c.odd = true // a file for LOAD DATA LOCAL, 16 MiB or more, or nonsense
		return false
	}
	switch what {
	case mysql.COM_STMT_SEND_LONG_DATA, mysql.COM_STMT_CLOSE: // have no answer
	case mysql.COM_INIT_DB, mysql.COM_QUERY, mysql.COM_FIELD_LIST, mysql.COM_CREATE_DB, mysql.COM_DROP_DB, mysql.COM_REFRESH, mysql.COM_STATISTICS,
		mysql.COM_PROCESS_INFO, mysql.COM_PROCESS_KILL, mysql.COM_DEBUG, mysql.COM_PING, mysql.COM_STMT_PREPARE, mysql.COM_STMT_EXECUTE,
		mysql.COM_STMT_RESET, mysql.COM_STMT_FETCH, mysql.COM_RESET_CONNECTION, bulkExecute:
		c.expected++
	default: // replication, COM_SET_OPTION, which no reset takes back, and what is not known
		c.odd = true
	}
	return false
}

// bulkExecute is MariaDB's COM_STMT_BULK_EXECUTE.
const bulkExecute = 0xfa

// ServerAnswers counts the answers in what a server says after a login. The zero value is
// ready to use.
type ServerAnswers struct {
	head   [HeaderSize]byte
	have   int // bytes of head
	left   int // bytes of the packet under way that are still to come
	seq    byte
	any    bool   // there was a packet
	first  bool   // the packet under way begins an answer, and its first byte is still to come
	number uint64 // answers that have begun
	odd    bool
}

// localInfile begins a packet that asks for a file.
const localInfile = 0xfb

// Scan is a relay.Leg.Scan that passes everything.
func (s *ServerAnswers) Scan(b []byte) (pass int, stop bool) {
	for rest := b; len(rest) > 0; {
		if s.left > 0 {
			if s.first {
				s.odd = s.odd || rest[0] == localInfile
				s.first = false
			}
			n := min(s.left, len(rest))
			rest, s.left = rest[n:], s.left-n
			continue
		}
		n := copy(s.head[s.have:], rest)
		rest = rest[n:]
		if s.have += n; s.have < HeaderSize {
			break
		}
		s.have, s.left = 0, int(s.head[0])|int(s.head[1])<<8|int(s.head[2])<<16
		seq := s.head[3]
		if s.first = seq == 1 && (!s.any || s.seq != 0); s.first {
			s.number++
		}
		s.seq, s.any = seq, true
	}
	return len(b), false
}

// quit is the whole packet of COM_QUIT.
var quit = []byte{1, 0, 0, 0, mysql.COM_QUIT}

// IsChangeUser reports whether what [ClientCommands] withheld is a COM_CHANGE_USER.
func IsChangeUser(withheld []byte) bool {
	return len(withheld) > HeaderSize && withheld[HeaderSize] == mysql.COM_CHANGE_USER
}

// Idle reports whether a session in which c and s have seen everything from the login on has
// answered all commands as soon as the next packet that it sends is an OK with the number 1,
// sent in answer to a COM_RESET_CONNECTION that follows. withheld is what the client said
// last, which must be its COM_QUIT and no more.
//
// A server carries out commands one after another, and numbers the packets of each answer on
// from the command's, which is 0: an answer begins with number 1 and goes on with 2, up to
// 255, 0, 1. So a packet with number 1 begins an answer unless it follows one with number 0.
// There were as many such packets as commands that are answered; so each of these has its
// answer, at least in part. Whatever is missing of the last one comes before the answer to
// the reset, and its number follows on the last number that was seen, which was not 0: it
// cannot be 1. A client that asks for more before it was answered is held to the same.
//
// What would be different is not Idle: commands of 16 MiB or more, whose answers begin with
// another number; a file for LOAD DATA LOCAL, after which the numbers go on; an answer that
// ends with number 0, of which every 256th long one does; replication.
func Idle(c *ClientCommands, s *ServerAnswers, withheld []byte) bool {
	return bytes.Equal(withheld, quit) && !c.odd && c.skip == 0 && !s.odd && s.have == 0 && s.left == 0 &&
		(!s.any || s.seq != 0) && s.number == c.expected
}
