package wire

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// SaltSize is the length of the salt that native and SHA-2 passwords are
// scrambled with, in bytes.
const SaltSize = 20

// Greeting is a server's first packet (page "Protocol::HandshakeV10").
type Greeting struct {
	Version      string
	ID           uint32 // of the connection
	Capabilities uint32
	Charset      byte
	Status       [2]byte
	Reserved     [10]byte // MariaDB keeps further capabilities in the last 4
	Salt         []byte
	Plugin       string
}

func ParseGreeting(payload []byte) (Greeting, error) {
	f := Fields{Rest: payload}
	if v := f.byte(); f.Err == nil && v != mysql.ClassicProtocolVersion {
		return Greeting{}, fmt.Errorf("protocol version %d; credproxy speaks 10", v)
	}
	g := Greeting{Version: f.Text(), ID: f.uint32()}
	salt := append([]byte(nil), f.take(8)...)
	f.take(1)
	low := f.take(2)
	g.Charset = f.byte()
	copy(g.Status[:], f.take(2))
	high := f.take(2)
	size := int(f.byte())
	copy(g.Reserved[:], f.take(len(g.Reserved)))
	if f.Err != nil {
		return Greeting{}, f.Err
	}
	g.Capabilities = uint32(low[0]) | uint32(low[1])<<8 | uint32(high[0])<<16 | uint32(high[1])<<24
	if g.Capabilities&mysql.CLIENT_PROTOCOL_41 == 0 || g.Capabilities&mysql.CLIENT_SECURE_CONNECTION == 0 {
		return Greeting{}, fmt.Errorf("server %q is older than MySQL 4.1", g.Version)
	}
	// The second part has at least 13 bytes, of which the last is a NUL.
	rest := f.take(max(13, size-8))
	if f.Err != nil {
		return Greeting{}, f.Err
	}
	g.Salt = append(salt, rest[:SaltSize-8]...)
	if g.Capabilities&mysql.CLIENT_PLUGIN_AUTH != 0 {
		g.Plugin = f.Text()
	}
	return g, f.Err
}

func (g Greeting) Encode() []byte {
	b := AppendText([]byte{mysql.ClassicProtocolVersion}, g.Version)
	b = binary.LittleEndian.AppendUint32(b, g.ID)
	b = append(append(b, g.Salt[:8]...), 0)
	b = append(b, byte(g.Capabilities), byte(g.Capabilities>>8), g.Charset, g.Status[0], g.Status[1], byte(g.Capabilities>>16), byte(g.Capabilities>>24))
	size := byte(0)
	if g.Capabilities&mysql.CLIENT_PLUGIN_AUTH != 0 {
		size = SaltSize + 1
	}
	b = append(append(b, size), g.Reserved[:]...)
	b = append(append(b, g.Salt[8:]...), 0)
	if g.Capabilities&mysql.CLIENT_PLUGIN_AUTH != 0 {
		b = AppendText(b, g.Plugin)
	}
	return b
}

// NewSalt returns random bytes from 1 to 127, as servers make them: a NUL would
// end the salt for some clients.
func NewSalt() []byte {
	salt := make([]byte, SaltSize)
	_, _ = rand.Read(salt) // never fails: crypto/rand
	for i := range salt {
		salt[i] = salt[i]&0x7f | 1
	}
	return salt
}
