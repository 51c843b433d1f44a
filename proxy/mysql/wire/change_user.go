package wire

import (
	"github.com/go-mysql-org/go-mysql/mysql"
)

// NoPlugin is the plugin named in a COM_CHANGE_USER of ours. No server has it, so
// every server answers with an AuthSwitchRequest and a fresh salt. (The field for
// a password there has one byte for its length, too little for an IAM token.)
const NoPlugin = "credproxy_none"

// ChangeUser is a COM_CHANGE_USER (page "COM_CHANGE_USER").
type ChangeUser struct {
	User       string
	Database   string
	Charset    [2]byte
	Plugin     string
	Attributes []byte
}

// ParseChangeUser parses the payload of a client whose handshake response was r.
func ParseChangeUser(payload []byte, r HandshakeResponse) (ChangeUser, error) {
	f := Fields{Rest: payload}
	f.take(1)
	c := ChangeUser{User: f.Text(), Charset: [2]byte{r.Charset}}
	if r.Capabilities&mysql.CLIENT_SECURE_CONNECTION != 0 {
		f.take(int(f.byte()))
	} else {
		f.Text()
	}
	c.Database = f.Text()
	if len(f.Rest) >= 2 {
		copy(c.Charset[:], f.take(2))
	}
	if r.Capabilities&mysql.CLIENT_PLUGIN_AUTH != 0 && len(f.Rest) > 0 {
		c.Plugin = f.Text()
	}
	if r.Capabilities&mysql.CLIENT_CONNECT_ATTRS != 0 && len(f.Rest) > 0 {
		c.Attributes = f.counted()
	}
	return c, f.Err
}

// Encode encodes the command for a server that has been told caps.
func (c ChangeUser) Encode(caps uint32) []byte {
	b := AppendText([]byte{mysql.COM_CHANGE_USER}, c.User)
	b = append(b, 0) // no password yet
	b = AppendText(b, c.Database)
	b = append(b, c.Charset[:]...)
	b = AppendText(b, NoPlugin)
	if caps&mysql.CLIENT_CONNECT_ATTRS != 0 {
		b = mysql.AppendLengthEncodedInteger(b, uint64(len(c.Attributes)))
		b = append(b, c.Attributes...)
	}
	return b
}
