package wire

import (
	"bufio"
	"bytes"
	"slices"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

func FuzzGreeting(f *testing.F) {
	f.Add(someGreeting().Encode())
	f.Add([]byte("\x0a5.5\x00"))
	f.Add([]byte("\xff\x10\x04Too many connections"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseGreeting(b)
		if err != nil {
			return
		}
		again, err := ParseGreeting(g.Encode())
		if err != nil || again.Version != g.Version || again.ID != g.ID || again.Capabilities != g.Capabilities ||
			again.Reserved != g.Reserved || !bytes.Equal(again.Salt, g.Salt) || again.Plugin != g.Plugin {
			t.Fatalf("%+v became %+v (%v)", g, again, err)
		}
		told := g.ForClient(false)
		if told.Capabilities&NotOffered != 0 || len(told.Salt) != SaltSize || bytes.IndexByte(told.Salt, 0) >= 0 {
			t.Fatalf("the client is told %+v", told)
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add(someResponse().Encode())
	f.Add(someResponse().Head())
	f.Add(append(someResponse().Head(), 'x'))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseHandshakeResponse(b)
		if err != nil {
			return
		}
		out := r.ForServer(someGreeting().Capabilities, "app", "fallback", mysql.AUTH_NATIVE_PASSWORD, true)
		out.Auth = []byte("12345678901234567890")
		again, err := ParseHandshakeResponse(out.Encode())
		if err != nil {
			t.Fatalf("%+v: %v", out, err)
		}
		// Only what says how the password travels may differ.
		ours := uint32(NotOffered | mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA |
			mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_CONNECT_WITH_DB)
		if again.Capabilities&^ours != r.Capabilities&^ours || again.User != "app" || again.MaxPacket != r.MaxPacket || again.Charset != r.Charset ||
			!bytes.Equal(again.Filler, r.Filler) || !bytes.Equal(again.Attributes, r.Attributes) {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}

func FuzzChangeUser(f *testing.F) {
	f.Add(ChangeUser{User: "anybody", Database: "orders", Charset: [2]byte{45}, Attributes: []byte("\x01a\x01b")}.Encode(mysql.CLIENT_CONNECT_ATTRS), uint32(0x01ffa68d))
	f.Add([]byte("\x11u\x00"), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, caps uint32) {
		r := someResponse()
		r.Capabilities = caps
		c, err := ParseChangeUser(b, r)
		if err != nil {
			return
		}
		r.Capabilities |= mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_PLUGIN_AUTH
		again, err := ParseChangeUser(c.Encode(r.Capabilities), r)
		if err != nil || again.User != c.User || again.Database != c.Database || again.Charset != c.Charset || !bytes.Equal(again.Attributes, c.Attributes) {
			t.Fatalf("%+v became %+v (%v)", c, again, err)
		}
	})
}

func FuzzPackets(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00x\x02\x00\x00\x01yz"))
	f.Add([]byte("\xff\xff\xff\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &PacketConn{R: bufio.NewReader(bytes.NewReader(b))}
		for {
			p, err := c.ReadPacket()
			if err != nil {
				return
			}
			if len(p) > MaxLoginPacket {
				t.Fatalf("a packet of %d bytes", len(p))
			}
		}
	})
}

// FuzzScanner cuts a stream of packets at every place and holds the scanner to
// what a reader of whole packets finds.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x0e\x02\x00\x00\x00\x11x"), uint8(1))
	f.Add([]byte("\x01\x00\x00\xff\x11\x01\x00\x00\x00\x11\x00\x00\x00\x01\x01\x00\x00\x00\x11"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		want := len(b)
		last, lastSeq := 0, byte(0)
		for at := 0; at+HeaderSize <= len(b); {
			size, seq := int(b[at])|int(b[at+1])<<8|int(b[at+2])<<16, b[at+3]
			continues := last == maxPayload || lastSeq == 255 && last > 0
			if seq == 0 && !continues && size > 0 && at+HeaderSize < len(b) && b[at+HeaderSize] == mysql.COM_CHANGE_USER {
				want = at
				break
			}
			last, lastSeq = size, seq
			at += HeaderSize + size
		}
		var s CommandScanner
		var passed, pending []byte
		for rest := b; ; {
			n := min(int(step)+1, len(rest))
			pending, rest = append(pending, rest[:n]...), rest[n:]
			pass, stop := s.Scan(pending)
			passed = append(passed, pending[:pass]...)
			pending = slices.Clone(pending[pass:])
			if stop {
				if len(passed) != want {
					t.Fatalf("stopped at %d, want %d", len(passed), want)
				}
				return
			}
			if len(pending) > HeaderSize {
				t.Fatalf("%d bytes kept back", len(pending))
			}
			if len(rest) == 0 {
				break
			}
		}
		if want != len(b) {
			t.Fatalf("passed %d bytes, want a stop at %d", len(passed), want)
		}
		if !bytes.HasPrefix(b, passed) {
			t.Fatal("other bytes passed than came")
		}
	})
}

func someGreeting() Greeting {
	return Greeting{Version: "8.4.0", ID: 42, Capabilities: 0xdfffffff &^ NotOffered, Charset: 255, Status: [2]byte{2, 0},
		Reserved: [10]byte{9: 7}, Salt: []byte("abcdefghijklmnopqrst"), Plugin: mysql.AUTH_CACHING_SHA2_PASSWORD}
}

func someResponse() HandshakeResponse {
	return HandshakeResponse{Capabilities: 0x01ffa68d, MaxPacket: 1 << 24, Charset: 45, Filler: make([]byte, 23), User: "anybody",
		Auth: []byte("12345678901234567890"), Database: "orders", Plugin: mysql.AUTH_NATIVE_PASSWORD, Attributes: []byte("\x04_pid\x0217")}
}
