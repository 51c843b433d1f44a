package wire

import (
	"bytes"
	"encoding/binary"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// LastPacket returns the payload of the OK, EOF or error packet that b ends with,
// nil if it ends with none, or with one longer than b. Within a packet it can be
// wrong, if its content looks like one.
func LastPacket(b []byte) []byte {
	const head = 4
	for start := len(b) - head - 1; start >= 0; start-- {
		payload := b[start+head:]
		if int(b[start]) != len(payload) || b[start+1] != 0 || b[start+2] != 0 {
			continue
		}
		switch payload[0] {
		case mysql.OK_HEADER, mysql.EOF_HEADER, mysql.ERR_HEADER:
			return payload
		}
	}
	return nil
}

// StatusOf reads the server's status from an OK or EOF packet.
func StatusOf(payload []byte) (status uint16, ok bool) {
	rest := payload[1:]
	switch {
	case payload[0] == mysql.ERR_HEADER:
		return 0, false
	case payload[0] == mysql.EOF_HEADER && len(payload) == 5:
		return binary.LittleEndian.Uint16(rest[2:]), true
	}
	for range 2 { // affected rows, last insert id
		if len(rest) == 0 {
			return 0, false
		}
		rest = rest[min(len(rest), lengthOf(rest[0])):]
	}
	if len(rest) < 2 {
		return 0, false
	}
	return binary.LittleEndian.Uint16(rest), true
}

// lengthOf is how many bytes a length-encoded integer has that begins with first.
func lengthOf(first byte) int {
	switch first {
	case 0xfc:
		return 3
	case 0xfd:
		return 4
	case 0xfe:
		return 9
	}
	return 1
}

// serverFlags are those of a status that tell of settings: how strings are read, and
// whether each statement is a transaction.
const serverFlags = mysql.SERVER_STATUS_AUTOCOMMIT | mysql.SERVER_STATUS_NO_BACKSLASH_ESCAPED

// WithSettings returns the OK packet with the flags of status that tell of settings:
// autocommit, and whether a backslash escapes.
func WithSettings(ok []byte, status uint16) []byte {
	old, found := StatusOf(ok)
	if !found {
		return ok
	}
	at := 1
	for range 2 {
		at += lengthOf(ok[at])
	}
	ok = bytes.Clone(ok)
	binary.LittleEndian.PutUint16(ok[at:], old&^serverFlags|status&serverFlags)
	return ok
}
