package postgres

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"testing"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

func FuzzStartup(f *testing.F) {
	f.Add([]byte("\x00\x03\x00\x00user\x00app\x00database\x00orders\x00options\x00-c role=x\x00\x00"))
	f.Add([]byte("\x00\x03\x00\x02user\x00app\x00_pq_.x\x00y\x00replication\x00true\x00\x00"))
	f.Add([]byte("\x00\x02\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStartup(b)
		if err != nil {
			return
		}
		// What was parsed encodes to what came, and the rewritten packet parses
		// with the new user and every other parameter in its place.
		if got := s.encode()[4:]; !bytes.Equal(got, b) {
			t.Fatalf("encoded %q, was %q", got, b)
		}
		again, err := parseStartup(s.rewritten("user", "db", "role").encode()[4:])
		if err != nil {
			t.Fatalf("rewritten packet: %v", err)
		}
		if s.get("user") != "" && again.get("user") != "user" || again.version != s.version {
			t.Fatalf("rewritten: %+v", again)
		}
		for i, p := range s.params {
			if p.name != "user" && p.name != "database" && again.params[i] != p {
				t.Fatalf("parameter %d was %q, is %q", i, p, again.params[i])
			}
		}
	})
}

func FuzzClientPacket(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readPacket(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && (len(p) < 4 || len(p) > maxStartupPacket-4) {
			t.Fatalf("a packet of %d bytes", len(p))
		}
	})
}

func FuzzServerMessage(f *testing.F) {
	f.Add([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00"))
	f.Add([]byte("E\xff\xff\xff\xff"))
	f.Add([]byte("E\x00\x00\x00\x03"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMessage(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && !bytes.HasPrefix(b, m.raw) {
			t.Fatalf("read %q of %q", m.raw, b)
		}
	})
}

func FuzzCancelKey(f *testing.F) {
	f.Add([]byte("\x04\xd2\x16\x2e\x00\x00\x00\x01abcd"))
	f.Add([]byte("\x04\xd2\x16\x2e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 {
			return // readPacket gives no less
		}
		k, err := parseCancel(b)
		if err != nil {
			return
		}
		if got := k.request()[8:]; !bytes.Equal(got, b[4:]) {
			t.Fatalf("encoded %q, was %q", got, b[4:])
		}
		if got := k.backendKeyData(); !bytes.Equal(got[5:], b[4:]) || len(got) != int(got[4])+int(got[3])<<8+1 {
			t.Fatalf("encoded %q, was %q", got, b[4:])
		}
	})
}

func FuzzSASLMechanisms(f *testing.F) {
	f.Add([]byte("SCRAM-SHA-256-PLUS\x00SCRAM-SHA-256\x00\x00"))
	f.Add([]byte("\x00"))
	f.Add([]byte("\x00SCRAM-SHA-256\x00"))
	f.Add([]byte("SCRAM-SHA-256"))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, err := parseMechanisms(b)
		if err == nil && (len(names) == 0 || len(names) > maxMechanisms) {
			t.Fatalf("%d mechanisms", len(names))
		}
	})
}

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
			m, err := readMessage(r)
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
		m, err := readMessage(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		err = refusal(m, secrets.NewCredential("app", "password"))
		out := errorResponse(err)
		if len(out) == 0 || out[0] != 'E' && out[0] != m.kind() {
			t.Fatalf("%q became %q", b, out)
		}
		if secrets.IsRejected(err) && fault.As(err).Kind != fault.CredentialRejected {
			t.Fatalf("%v", fault.As(err).Kind)
		}
	})
}
