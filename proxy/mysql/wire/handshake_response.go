package wire

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// SSLRequestSize is the part of a handshake response that an SSLRequest consists
// of, in bytes: flags, largest packet, charset, filler.
const SSLRequestSize = 32

// HandshakeResponse is a client's answer to the greeting (page
// "Protocol::HandshakeResponse41").
type HandshakeResponse struct {
	Capabilities uint32
	MaxPacket    uint32
	Charset      byte
	Filler       []byte // 23 bytes; MariaDB's clients keep further capabilities in the last 4
	User         string
	Auth         []byte
	Database     string
	Plugin       string
	Attributes   []byte // connection attributes, without their length
}

func ParseHandshakeResponse(payload []byte) (HandshakeResponse, error) {
	f := Fields{Rest: payload}
	r := HandshakeResponse{Capabilities: f.uint32(), MaxPacket: f.uint32(), Charset: f.byte(), Filler: f.take(23)}
	if f.Err != nil {
		return HandshakeResponse{}, f.Err
	}
	if r.Capabilities&mysql.CLIENT_PROTOCOL_41 == 0 {
		return HandshakeResponse{}, errors.New("the client is older than MySQL 4.1")
	}
	r.User = f.Text()
	switch {
	case r.Capabilities&mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA != 0:
		r.Auth = f.counted()
	case r.Capabilities&mysql.CLIENT_SECURE_CONNECTION != 0:
		r.Auth = f.take(int(f.byte()))
	default:
		r.Auth = []byte(f.Text())
	}
	if r.Capabilities&mysql.CLIENT_CONNECT_WITH_DB != 0 {
		r.Database = f.Text()
	}
	if r.Capabilities&mysql.CLIENT_PLUGIN_AUTH != 0 {
		r.Plugin = f.Text()
	}
	if r.Capabilities&mysql.CLIENT_CONNECT_ATTRS != 0 && len(f.Rest) > 0 {
		r.Attributes = f.counted()
	}
	return r, f.Err
}

// ForgetLogin lets go of what a login alone needs, which may be as long as a packet.
func (r *HandshakeResponse) ForgetLogin() {
	r.Auth, r.Attributes, r.Filler = nil, nil, bytes.Clone(r.Filler)
}

// Head encodes the part that an SSLRequest consists of.
func (r HandshakeResponse) Head() []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 256), r.Capabilities)
	b = binary.LittleEndian.AppendUint32(b, r.MaxPacket)
	return append(append(b, r.Charset), r.Filler...)
}

func (r HandshakeResponse) Encode() []byte {
	b := AppendText(r.Head(), r.User)
	if r.Capabilities&mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA != 0 {
		b = mysql.AppendLengthEncodedInteger(b, uint64(len(r.Auth)))
	} else {
		b = append(b, byte(len(r.Auth))) // scrambles have 20 or 32 bytes
	}
	b = append(b, r.Auth...)
	if r.Capabilities&mysql.CLIENT_CONNECT_WITH_DB != 0 {
		b = AppendText(b, r.Database)
	}
	if r.Capabilities&mysql.CLIENT_PLUGIN_AUTH != 0 {
		b = AppendText(b, r.Plugin)
	}
	if r.Capabilities&mysql.CLIENT_CONNECT_ATTRS != 0 {
		b = mysql.AppendLengthEncodedInteger(b, uint64(len(r.Attributes)))
		b = append(b, r.Attributes...)
	}
	return b
}

// ForServer returns the response that the database hears from us: the client's
// own, with another user, with the database if the client named none, and with
// the flags that say how we send the password. No flag that changes what follows
// the login is added or taken away.
func (r HandshakeResponse) ForServer(server uint32, user, database, plugin string, tls bool) HandshakeResponse {
	r.User, r.Plugin, r.Auth = user, plugin, nil
	r.Capabilities &^= NotOffered | mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
	r.Capabilities |= mysql.CLIENT_SECURE_CONNECTION
	r.Capabilities |= server & (mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
	if tls {
		r.Capabilities |= mysql.CLIENT_SSL
	}
	if r.Database == "" {
		r.Database = database
	}
	if r.Database != "" {
		r.Capabilities |= mysql.CLIENT_CONNECT_WITH_DB
	}
	return r
}
