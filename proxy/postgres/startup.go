package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

const (
	// maxStartupPacket is MAX_STARTUP_PACKET_LENGTH of the server, in bytes
	// with the length itself (src/include/libpq/pqcomm.h).
	maxStartupPacket = 10_000
	minStartupPacket = 8

	// Request codes in the place of a protocol version (section "Message
	// Formats": CancelRequest, SSLRequest, GSSENCRequest).
	codeCancel = 80877102
	codeSSL    = 80877103
	codeGSSENC = 80877104

	protocolMajor = 3
)

// errProtocol is a version of the protocol that we do not speak.
var errProtocol = errors.New("unsupported frontend protocol")

// param is one name and value of a startup packet.
type param struct{ name, value string }

// startup is a startup packet: the protocol version the client asks for, and its
// parameters in their order, duplicates included.
type startup struct {
	version uint32
	params  []param
}

// parseStartup parses a startup packet without its length word.
func parseStartup(b []byte) (startup, error) {
	if len(b) < 4 {
		return startup{}, errors.New("startup packet without a protocol version")
	}
	s := startup{version: binary.BigEndian.Uint32(b)}
	if major := s.version >> 16; major != protocolMajor {
		return startup{}, fmt.Errorf("%w %d.%d: credproxy speaks 3.0 and later 3.x", errProtocol, major, s.version&0xffff)
	}
	b = b[4:]
	for {
		name, rest, ok := bytes.Cut(b, []byte{0})
		if !ok {
			return startup{}, errors.New("startup packet without its terminator")
		}
		if len(name) == 0 {
			if len(rest) != 0 {
				return startup{}, errors.New("bytes after the startup packet's terminator")
			}
			return s, nil
		}
		value, rest, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return startup{}, errors.New("startup packet with a name that has no value")
		}
		s.params = append(s.params, param{string(name), string(value)})
		b = rest
	}
}

// get returns the last value of name, which is the one the server takes.
func (s startup) get(name string) string {
	for i := len(s.params) - 1; i >= 0; i-- {
		if s.params[i].name == name {
			return s.params[i].value
		}
	}
	return ""
}

// physicalReplication tells whether the client wants a walsender that is
// connected to no database (parameter replication, section "Streaming
// Replication Protocol").
func (s startup) physicalReplication() bool {
	// What parse_bool of the server takes for true: any beginning of a word.
	v := strings.ToLower(s.get("replication"))
	return v == "1" || v == "on" || v != "" && (strings.HasPrefix("true", v) || strings.HasPrefix("yes", v))
}

// rewritten returns the packet as the database shall see it: in the client's
// order, with another user, with the database if the client named none, and with
// a role to take on, if any.
func (s startup) rewritten(user, database, role string) startup {
	out := startup{version: s.version, params: make([]param, 0, len(s.params)+2)}
	named := false
	for _, p := range s.params {
		switch p.name {
		case "user":
			p.value = user
		case "database":
			if p.value == "" {
				p.value = database
			}
			named = true
		}
		out.params = append(out.params, p)
	}
	if s.physicalReplication() {
		return out // it has no database, and so no catalog to look a role up in
	}
	if !named && database != "" {
		out.params = append(out.params, param{"database", database})
	}
	if role != "" {
		// A setting of the session's start, so that RESET and DISCARD ALL come
		// back to it. Last, so that it wins over one in the client's packet.
		out.params = append(out.params, param{"role", role})
	}
	return out
}

// encode returns the packet with its length word.
func (s startup) encode() []byte {
	b := make([]byte, 8, 256)
	binary.BigEndian.PutUint32(b[4:], s.version)
	for _, p := range s.params {
		b = append(append(b, p.name...), 0)
		b = append(append(b, p.value...), 0)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}
