package wire

import (
	"bufio"
	"bytes"
	"testing"
)

func FuzzStartup(f *testing.F) {
	f.Add([]byte("\x00\x03\x00\x00user\x00app\x00database\x00orders\x00options\x00-c role=x\x00\x00"))
	f.Add([]byte("\x00\x03\x00\x02user\x00app\x00_pq_.x\x00y\x00replication\x00true\x00\x00"))
	f.Add([]byte("\x00\x02\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStartup(b)
		if err != nil {
			return
		}
		// What was parsed encodes to what came, and the rewritten packet parses
		// with the new user and every other parameter in its place.
		if got := s.Encode()[4:]; !bytes.Equal(got, b) {
			t.Fatalf("encoded %q, was %q", got, b)
		}
		again, err := ParseStartup(s.Rewritten("user", "db", "role").Encode()[4:])
		if err != nil {
			t.Fatalf("rewritten packet: %v", err)
		}
		if s.Get("user") != "" && again.Get("user") != "user" || again.Version != s.Version {
			t.Fatalf("rewritten: %+v", again)
		}
		for i, p := range s.Params {
			if p.Name != "user" && p.Name != "database" && again.Params[i] != p {
				t.Fatalf("parameter %d was %q, is %q", i, p, again.Params[i])
			}
		}
	})
}

func FuzzClientPacket(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ReadPacket(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && (len(p) < 4 || len(p) > MaxStartupPacket-4) {
			t.Fatalf("a packet of %d bytes", len(p))
		}
	})
}

func FuzzServerMessage(f *testing.F) {
	f.Add([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00"))
	f.Add([]byte("E\xff\xff\xff\xff"))
	f.Add([]byte("E\x00\x00\x00\x03"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadMessage(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && !bytes.HasPrefix(b, m.Raw) {
			t.Fatalf("read %q of %q", m.Raw, b)
		}
	})
}

func FuzzCancelKey(f *testing.F) {
	f.Add([]byte("\x04\xd2\x16\x2e\x00\x00\x00\x01abcd"))
	f.Add([]byte("\x04\xd2\x16\x2e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 {
			return // ReadPacket gives no less
		}
		k, err := ParseCancel(b)
		if err != nil {
			return
		}
		if got := k.Request()[8:]; !bytes.Equal(got, b[4:]) {
			t.Fatalf("encoded %q, was %q", got, b[4:])
		}
		if got := k.BackendKeyData(); !bytes.Equal(got[5:], b[4:]) || len(got) != int(got[4])+int(got[3])<<8+1 {
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
		names, err := ParseMechanisms(b)
		if err == nil && (len(names) == 0 || len(names) > maxMechanisms) {
			t.Fatalf("%d mechanisms", len(names))
		}
	})
}
