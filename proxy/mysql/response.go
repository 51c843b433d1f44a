package mysql

import (
	"encoding/binary"
	"errors"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// responseHead is the part of a handshake response that an SSLRequest consists
// of, in bytes: flags, largest packet, charset, filler.
const responseHead = 32

// response is a client's answer to the greeting (page
// "Protocol::HandshakeResponse41").
type response struct {
	caps      uint32
	maxPacket uint32
	charset   byte
	filler    []byte // 23 bytes; MariaDB's clients keep further capabilities in the last 4
	user      string
	auth      []byte
	database  string
	plugin    string
	attrs     []byte // connection attributes, without their length
}

func parseResponse(payload []byte) (response, error) {
	f := fields{b: payload}
	r := response{caps: f.uint32(), maxPacket: f.uint32(), charset: f.byte(), filler: f.take(23)}
	if f.err != nil {
		return response{}, f.err
	}
	if r.caps&mysql.CLIENT_PROTOCOL_41 == 0 {
		return response{}, errors.New("the client is older than MySQL 4.1")
	}
	r.user = f.text()
	switch {
	case r.caps&mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA != 0:
		r.auth = f.counted()
	case r.caps&mysql.CLIENT_SECURE_CONNECTION != 0:
		r.auth = f.take(int(f.byte()))
	default:
		r.auth = []byte(f.text())
	}
	if r.caps&mysql.CLIENT_CONNECT_WITH_DB != 0 {
		r.database = f.text()
	}
	if r.caps&mysql.CLIENT_PLUGIN_AUTH != 0 {
		r.plugin = f.text()
	}
	if r.caps&mysql.CLIENT_CONNECT_ATTRS != 0 && len(f.b) > 0 {
		r.attrs = f.counted()
	}
	return r, f.err
}

// forServer returns the response that the database hears from us: the client's
// own, with another user, with the database if the client named none, and with
// the flags that say how we send the password. No flag that changes what follows
// the login is added or taken away.
func (r response) forServer(server uint32, user, database, plugin string, tls bool) response {
	r.user, r.plugin, r.auth = user, plugin, nil
	r.caps &^= notOffered | mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
	r.caps |= mysql.CLIENT_SECURE_CONNECTION
	r.caps |= server & (mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
	if tls {
		r.caps |= mysql.CLIENT_SSL
	}
	if r.database == "" {
		r.database = database
	}
	if r.database != "" {
		r.caps |= mysql.CLIENT_CONNECT_WITH_DB
	}
	return r
}

// head encodes the part that an SSLRequest consists of.
func (r response) head() []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 256), r.caps)
	b = binary.LittleEndian.AppendUint32(b, r.maxPacket)
	return append(append(b, r.charset), r.filler...)
}

func (r response) encode() []byte {
	b := appendText(r.head(), r.user)
	if r.caps&mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA != 0 {
		b = mysql.AppendLengthEncodedInteger(b, uint64(len(r.auth)))
	} else {
		b = append(b, byte(len(r.auth))) // scrambles have 20 or 32 bytes
	}
	b = append(b, r.auth...)
	if r.caps&mysql.CLIENT_CONNECT_WITH_DB != 0 {
		b = appendText(b, r.database)
	}
	if r.caps&mysql.CLIENT_PLUGIN_AUTH != 0 {
		b = appendText(b, r.plugin)
	}
	if r.caps&mysql.CLIENT_CONNECT_ATTRS != 0 {
		b = mysql.AppendLengthEncodedInteger(b, uint64(len(r.attrs)))
		b = append(b, r.attrs...)
	}
	return b
}
