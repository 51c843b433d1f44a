package postgres

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/secrets"
)

func FuzzErrorResponse(f *testing.F) {
	f.Add([]byte("E\x00\x00\x00\x1dSFATAL\x00C28P01\x00Mwrong\x00\x00"))
	f.Add([]byte("E\x00\x00\x00\x04"))
	f.Add([]byte("E\x00\x00\x00\x06M\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.ReadMessage(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		err = backend.Refusal(m, secrets.NewCredential("app", "password"))
		out := errorResponse(err)
		if len(out) == 0 || out[0] != 'E' && out[0] != m.Kind() {
			t.Fatalf("%q became %q", b, out)
		}
		if secrets.IsRejected(err) && fault.As(err).Kind != fault.CredentialRejected {
			t.Fatalf("%v", fault.As(err).Kind)
		}
	})
}
