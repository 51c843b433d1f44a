package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// MaxStartupPacket is MAX_STARTUP_PACKET_LENGTH of the server, in bytes
	// with the length itself (src/include/libpq/pqcomm.h).
	MaxStartupPacket = 10_000
	minStartupPacket = 8

	// Request codes in the place of a protocol version (section "Message
	// Formats": CancelRequest, SSLRequest, GSSENCRequest).
	CodeCancel = 80877102
	CodeSSL    = 80877103
	CodeGSSENC = 80877104

	ProtocolMajor = 3
)

// ErrProtocol is a version of the protocol that we do not speak.
var ErrProtocol = errors.New("unsupported frontend protocol")

// Param is one name and value of a startup packet.
type Param struct{ Name, Value string }

// Startup is a startup packet: the protocol version the client asks for, and its
// parameters in their order, duplicates included.
type Startup struct {
	Version uint32
	Params  []Param
}

// ParseStartup parses a startup packet without its length word.
func ParseStartup(b []byte) (Startup, error) {
	if len(b) < 4 {
		return Startup{}, errors.New("startup packet without a protocol version")
	}
	s := Startup{Version: binary.BigEndian.Uint32(b)}
	if major := s.Version >> 16; major != ProtocolMajor {
		return Startup{}, fmt.Errorf("%w %d.%d: credproxy speaks 3.0 and later 3.x", ErrProtocol, major, s.Version&0xffff)
	}
	b = b[4:]
	for {
		name, rest, ok := bytes.Cut(b, []byte{0})
		if !ok {
			return Startup{}, errors.New("startup packet without its terminator")
		}
		if len(name) == 0 {
			if len(rest) != 0 {
				return Startup{}, errors.New("bytes after the startup packet's terminator")
			}
			return s, nil
		}
		value, rest, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return Startup{}, errors.New("startup packet with a name that has no value")
		}
		s.Params = append(s.Params, Param{string(name), string(value)})
		b = rest
	}
}

// Get returns the last value of name, which is the one the server takes.
func (s Startup) Get(name string) string {
	for i := len(s.Params) - 1; i >= 0; i-- {
		if s.Params[i].Name == name {
			return s.Params[i].Value
		}
	}
	return ""
}

// PhysicalReplication reports whether the client wants a walsender that is
// connected to no database (parameter replication, section "Streaming
// Replication Protocol").
func (s Startup) PhysicalReplication() bool {
	// What parse_bool of the server takes for true: any beginning of a word.
	v := strings.ToLower(s.Get("replication"))
	return v == "1" || v == "on" || v != "" && (strings.HasPrefix("true", v) || strings.HasPrefix("yes", v))
}

// Replication reports whether the client may want a walsender, connected to a database or
// not: either kind takes the commands of physical replication. The server looks at every
// parameter of that name, so any that is not plainly false counts.
func (s Startup) Replication() bool {
	return slices.ContainsFunc(s.Params, func(p Param) bool { return p.Name == "replication" && !isFalse(p.Value) })
}

// isFalse reports whether parse_bool of the server takes v for false: any beginning of a
// word, but "o".
func isFalse(v string) bool {
	v = strings.ToLower(v)
	return v == "0" || v != "" && (strings.HasPrefix("false", v) || strings.HasPrefix("no", v)) || v == "of" || v == "off"
}

// WithDatabase returns the packet with name as its database.
func (s Startup) WithDatabase(name string) Startup {
	s.Params = slices.DeleteFunc(slices.Clone(s.Params), func(p Param) bool { return p.Name == "database" })
	s.Params = append(s.Params, Param{"database", name})
	return s
}

// Rewritten returns the packet as the database shall see it: in the client's
// order, with another user, with the database if the client named none, and with
// a role to take on, if any.
func (s Startup) Rewritten(user, database, role string) Startup {
	out := Startup{Version: s.Version, Params: make([]Param, 0, len(s.Params)+2)}
	named := false
	for _, p := range s.Params {
		switch p.Name {
		case "user":
			p.Value = user
		case "database":
			if p.Value == "" {
				p.Value = database
			}
			named = true
		}
		out.Params = append(out.Params, p)
	}
	if s.PhysicalReplication() {
		return out // it has no database, and so no catalog to look a role up in
	}
	if !named && database != "" {
		out.Params = append(out.Params, Param{"database", database})
	}
	if role != "" {
		// A setting of the session's start, so that RESET and DISCARD ALL come
		// back to it. Last, so that it wins over one in the client's packet.
		out.Params = append(out.Params, Param{"role", role})
	}
	return out
}

// Encode returns the packet with its length word.
func (s Startup) Encode() []byte {
	b := make([]byte, 8, 256)
	binary.BigEndian.PutUint32(b[4:], s.Version)
	for _, p := range s.Params {
		b = append(append(b, p.Name...), 0)
		b = append(append(b, p.Value...), 0)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// Key is the same for two packets that ask for the same session. Some clients send the
// parameters in another order each time; it matters where a name comes twice, and between the
// two that say who the session is.
func (s Startup) Key() string {
	sorted := Startup{Version: s.Version, Params: slices.Clone(s.Params)}
	slices.SortStableFunc(sorted.Params, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
	for i, p := range sorted.Params {
		if i > 0 && p.Name == sorted.Params[i-1].Name || strings.EqualFold(p.Name, "session_authorization") {
			return string(s.Encode())
		}
	}
	return string(sorted.Encode())
}
