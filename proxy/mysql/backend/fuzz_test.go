package backend

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// FuzzAuthentication feeds an authenticator what a database may say. The
// password must not go out in clear text, and it must come to an end.
func FuzzAuthentication(f *testing.F) {
	f.Add([]byte("\x1a\x00\x00\x00\xfemysql_clear_password\x00"), uint8(0))
	f.Add([]byte("\x2c\x00\x00\x00\xfecaching_sha2_password\x00abcdefghijklmnopqrst\x00\x02\x00\x00\x02\x01\x04"), uint8(0))
	f.Add([]byte("\x01\x00\x00\x00\xfe"), uint8(1))
	f.Add([]byte("\x01\x00\x00\x00\x02"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, link uint8) {
		a := &authenticator{cred: proxytest.Credential(), link: secrets.Link{Protection: secrets.Protection(link % 3), PasswordAllowed: link >= 128}}
		a.begin(mysql.AUTH_NATIVE_PASSWORD, []byte("abcdefghijklmnopqrst"))
		c := &wire.PacketConn{R: bufio.NewReader(bytes.NewReader(b))}
		for {
			p, err := c.ReadPacket()
			if err != nil {
				return
			}
			reply, done, err := a.answer(p)
			if bytes.Contains(reply, []byte(proxytest.Password)) {
				shared := a.plugin == mysql.AUTH_CACHING_SHA2_PASSWORD || a.plugin == mysql.AUTH_SHA256_PASSWORD
				said := a.link.PasswordAllowed && a.link.Protection == secrets.Encrypted && shared
				if a.link.Protection != secrets.Verified && !said {
					t.Fatalf("the password went out by %s over a link that is %+v", a.plugin, a.link)
				}
			}
			if done || err != nil {
				return
			}
			if reply != nil {
				c.Seq++
			}
		}
	})
}

// FuzzAnswer feeds what a database may answer to a statement. It must come to an
// end within the caps.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x07\x00\x00\x00" + "\x00\x00\x00\x02\x00\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x01\x01\x00\x00\x01x\x05\x00\x00\x02" + "\xfe\x00\x00\x02\x00" + "\x02\x00\x00\x03\x011\x05\x00\x00\x04" + "\xfe\x00\x00\x02\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x01\x01\x00\x00\x01x\x05\x00\x00\x02" + "\xfe\x00\x00\x02\x00" + "\x01\x00\x00\x03\xfc"))
	f.Add([]byte("\x08\x00\x00\x00\xff\x76\x04#42000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &wire.PacketConn{R: bufio.NewReader(bytes.NewReader(b))}
		rows, err := readResult(c)
		if err != nil && rows != nil || len(rows) > upstream.MaxRows {
			t.Fatalf("%d rows, error %v", len(rows), err)
		}
		for _, row := range rows {
			if len(row) > upstream.MaxColumns {
				t.Fatalf("%d columns", len(row))
			}
		}
	})
}

func FuzzError(f *testing.F) {
	f.Add([]byte("\xff\x15\x04#28000Access denied"))
	f.Add([]byte("\xff\x10\x04Too many connections"))
	f.Add([]byte("\xff\x15\x04#28"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || b[0] != mysql.ERR_HEADER {
			return
		}
		err := refusal(b, &secrets.Credential{})
		if secrets.IsRejected(err) != (fault.As(err).Kind == fault.CredentialRejected) {
			t.Fatalf("%v", err)
		}
	})
}
