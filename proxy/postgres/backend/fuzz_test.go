package backend

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// FuzzAuthentication feeds an authenticator a whole conversation. It must never
// be satisfied: whoever made up the bytes does not know the password.
func FuzzAuthentication(f *testing.F) {
	sasl := "R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"
	f.Add([]byte(sasl+"R\x00\x00\x00\x17\x00\x00\x00\x0br=x,s=eA==,i=1"), true)
	f.Add([]byte(sasl+"R\x00\x00\x00\x08\x00\x00\x00\x00"), false)
	f.Add([]byte(sasl+"R\x00\x00\x00\x0c\x00\x00\x00\x0cv=eA"), false)
	f.Add([]byte("R\x00\x00\x00\x0c\x00\x00\x00\x05saltR\x00\x00\x00\x08\x00\x00\x00\x03"), true)
	cred := secrets.NewCredential("app", "planted-secret")
	f.Fuzz(func(t *testing.T, b []byte, encrypted bool) {
		a := authenticator{cred: cred, keys: new(ScramKeys)}
		if encrypted {
			a.tls, a.link = &tls.ConnectionState{}, secrets.Link{Protection: secrets.Encrypted}
		}
		r := bufio.NewReader(bytes.NewReader(b))
		scramBegun := false
		for {
			m, err := wire.ReadMessage(r)
			if err != nil {
				return
			}
			reply, done, err := a.answer(m)
			if bytes.Contains(reply, []byte("planted-secret")) {
				t.Fatalf("sent the password over an unverified link: %q", reply)
			}
			if err != nil {
				return
			}
			scramBegun = scramBegun || a.conv != nil
			if done && scramBegun {
				t.Fatal("satisfied by a server that proved nothing")
			}
			if done {
				return
			}
		}
	})
}

const readyIdle = "Z\x00\x00\x00\x05I"

// frame writes a body as a message of the protocol.
func frame(kind byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))) + body
}

// FuzzBegin feeds what a database may say first after AuthenticationOk. All of it is kept for
// the client, within the cap, or left to be read; an error shows the client all there was.
func FuzzBegin(f *testing.F) {
	notice := frame('N', "SWARNING\x00C01000\x00Mlate\x00\x00")
	f.Add([]byte(frame('E', "SFATAL\x00C3D000\x00Mno\x00\x00")))
	f.Add([]byte(notice + frame('E', "SFATAL\x00C42501\x00Mno\x00\x00")))
	f.Add([]byte(notice + notice + readyIdle))
	f.Add([]byte("E\xff\xff\xff\xff"))
	f.Add([]byte("E\x00\x00\x00\x00"))
	f.Add([]byte(frame('N', strings.Repeat("x", 5000))))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &Conn{r: bufio.NewReader(bytes.NewReader(b)), Cred: secrets.NewCredential("app", "planted-secret")}
		err := c.begin()
		said, refused := errors.AsType[*ServerError](err)
		if refused && !bytes.HasPrefix(append([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00"), b...), said.Raw) {
			t.Fatalf("the client would see %q of %q", said.Raw, b)
		}
		if err != nil {
			return
		}
		left, err := io.ReadAll(c.r)
		if got := string(c.Preamble) + string(left); err != nil || got != "R\x00\x00\x00\x08\x00\x00\x00\x00"+string(b) || len(c.Preamble) > maxPreamble {
			t.Fatalf("%q is left of %q (%v)", got, b, err)
		}
	})
}

// FuzzAnswer feeds what a database may answer to a statement. It must come to an
// end within the caps.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("T\x00\x00\x00\x06\x00\x02" + frame('D', "\x00\x02\x00\x00\x00\x011\xff\xff\xff\xff") + "C\x00\x00\x00\x0dSELECT 1\x00" + readyIdle))
	f.Add([]byte(frame('D', "\x00\x01\xff\xff\xff\xfe") + readyIdle))
	f.Add([]byte(frame('E', "SERROR\x00C42501\x00Mno\x00\x00") + readyIdle))
	f.Add([]byte(frame('E', "SFATAL\x00C57P01\x00Mterminating\x00\x00")))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &Conn{r: bufio.NewReader(bytes.NewReader(b))}
		rows, err := c.readResult(sqlError)
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
