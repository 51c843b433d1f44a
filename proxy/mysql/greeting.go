package mysql

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// saltSize is the length of the salt that native and SHA-2 passwords are
// scrambled with, in bytes.
const saltSize = 20

// notOffered are the capabilities that a client is never offered: what is
// compressed cannot be passed on unseen, and TLS is offered only with client_tls.
const notOffered = mysql.CLIENT_COMPRESS | mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM | mysql.CLIENT_SSL

// greeting is a server's first packet (page "Protocol::HandshakeV10").
type greeting struct {
	version  string
	id       uint32 // of the connection
	caps     uint32
	charset  byte
	status   [2]byte
	reserved [10]byte // MariaDB keeps further capabilities in the last 4
	salt     []byte
	plugin   string
}

func parseGreeting(payload []byte) (greeting, error) {
	f := fields{b: payload}
	if v := f.byte(); f.err == nil && v != mysql.ClassicProtocolVersion {
		return greeting{}, fmt.Errorf("protocol version %d; credproxy speaks 10", v)
	}
	g := greeting{version: f.text(), id: f.uint32()}
	salt := append([]byte(nil), f.take(8)...)
	f.take(1)
	low := f.take(2)
	g.charset = f.byte()
	copy(g.status[:], f.take(2))
	high := f.take(2)
	size := int(f.byte())
	copy(g.reserved[:], f.take(len(g.reserved)))
	if f.err != nil {
		return greeting{}, f.err
	}
	g.caps = uint32(low[0]) | uint32(low[1])<<8 | uint32(high[0])<<16 | uint32(high[1])<<24
	if g.caps&mysql.CLIENT_PROTOCOL_41 == 0 || g.caps&mysql.CLIENT_SECURE_CONNECTION == 0 {
		return greeting{}, fmt.Errorf("server %q is older than MySQL 4.1", g.version)
	}
	// The second part has at least 13 bytes, of which the last is a NUL.
	rest := f.take(max(13, size-8))
	if f.err != nil {
		return greeting{}, f.err
	}
	g.salt = append(salt, rest[:saltSize-8]...)
	if g.caps&mysql.CLIENT_PLUGIN_AUTH != 0 {
		g.plugin = f.text()
	}
	return g, f.err
}

// forClient returns the greeting that a client hears: the database's own, but
// with our salt, without what is not offered, and with a plugin that we can play.
func (g greeting) forClient(tls bool) greeting {
	g.caps &^= notOffered
	if tls {
		g.caps |= mysql.CLIENT_SSL
	}
	g.salt = newSalt()
	if g.plugin != mysql.AUTH_CACHING_SHA2_PASSWORD {
		g.plugin = mysql.AUTH_NATIVE_PASSWORD
	}
	return g
}

func (g greeting) encode() []byte {
	b := appendText([]byte{mysql.ClassicProtocolVersion}, g.version)
	b = binary.LittleEndian.AppendUint32(b, g.id)
	b = append(append(b, g.salt[:8]...), 0)
	b = append(b, byte(g.caps), byte(g.caps>>8), g.charset, g.status[0], g.status[1], byte(g.caps>>16), byte(g.caps>>24))
	size := byte(0)
	if g.caps&mysql.CLIENT_PLUGIN_AUTH != 0 {
		size = saltSize + 1
	}
	b = append(append(b, size), g.reserved[:]...)
	b = append(append(b, g.salt[8:]...), 0)
	if g.caps&mysql.CLIENT_PLUGIN_AUTH != 0 {
		b = appendText(b, g.plugin)
	}
	return b
}

// newSalt returns random bytes from 1 to 127, as servers make them: a NUL would
// end the salt for some clients.
func newSalt() []byte {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails: crypto/rand
	for i := range salt {
		salt[i] = salt[i]&0x7f | 1
	}
	return salt
}
