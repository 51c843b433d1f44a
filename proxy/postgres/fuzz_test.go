package postgres

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"testing"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
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
		a := authenticator{cred: cred, scram: &scramClients{}}
		if encrypted {
			a.tls = &tls.ConnectionState{}
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

func FuzzErrorResponse(f *testing.F) {
	f.Add([]byte("E\x00\x00\x00\x1dSFATAL\x00C28P01\x00Mwrong\x00\x00"))
	f.Add([]byte("E\x00\x00\x00\x04"))
	f.Add([]byte("E\x00\x00\x00\x06M\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.ReadMessage(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		err = refusal(m, secrets.NewCredential("app", "password"))
		out := errorResponse(err)
		if len(out) == 0 || out[0] != 'E' && out[0] != m.Kind() {
			t.Fatalf("%q became %q", b, out)
		}
		if secrets.IsRejected(err) && fault.As(err).Kind != fault.CredentialRejected {
			t.Fatalf("%v", fault.As(err).Kind)
		}
	})
}
