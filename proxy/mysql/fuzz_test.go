package mysql

import (
	"bytes"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
)

func realGreeting() wire.Greeting {
	return wire.Greeting{Version: "8.4.0", ID: 42, Capabilities: 0xdfffffff &^ wire.NotOffered, Charset: 255, Status: [2]byte{2, 0},
		Reserved: [10]byte{9: 7}, Salt: []byte("abcdefghijklmnopqrst"), Plugin: mysql.AUTH_CACHING_SHA2_PASSWORD}
}

func realResponse() wire.HandshakeResponse {
	return wire.HandshakeResponse{Capabilities: 0x01ffa68d, MaxPacket: 1 << 24, Charset: 45, Filler: make([]byte, 23), User: "anybody",
		Auth: []byte("12345678901234567890"), Database: "orders", Plugin: mysql.AUTH_NATIVE_PASSWORD, Attributes: []byte("\x04_pid\x0217")}
}

// FuzzFarewell: whatever a client was sent last, a word to it is one packet, and
// one that is sent is readable.
func FuzzFarewell(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"))
	f.Add([]byte("\x05\x00\x00\x05\xfe\x00\x00\x03\x00"))
	f.Add([]byte("\x09\x00\x00\x05\xfe\xfc\x01\x02\x00\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, tail []byte) {
		b, idle := farewell(tail, fault.ErrShuttingDown(nil))
		if b == nil {
			if idle {
				t.Fatal("idle within a packet")
			}
			return
		}
		if len(b) != 4+int(b[0])+int(b[1])<<8 || b[4] != mysql.ERR_HEADER {
			t.Fatalf("%q", b)
		}
	})
}

func TestFarewell(t *testing.T) {
	for tail, want := range map[string]struct{ told, idle bool }{
		"": {true, true}, // nothing since the OK of the login
		"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00":                 {true, true},
		"\x07\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00":                 {true, false}, // a transaction is open
		"\x05\x00\x00\x05\xfe\x00\x00\x02\x00":                         {true, true},
		"\x05\x00\x00\x05\xfe\x00\x00\x0a\x00":                         {true, false}, // more results follow
		"\x09\x00\x00\x05\x00\xfc\x01\x02\x00\x02\x00\x00\x00":         {true, true},
		"1\x08\x00\x00\x01\xff\x48\x04#4200":                           {true, false},  // an error tells no status
		"\x02\x00\x00\x05\x01\x31":                                     {false, false}, // a row
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00": {false, false},
		"\x03\x00\x00\x05\x00\xfc\x01":                                 {true, false}, // cut short
	} {
		message, idle := farewell([]byte(tail), fault.ErrShuttingDown(nil))
		if (message != nil) != want.told || idle != want.idle {
			t.Errorf("after %q: %q, idle %v", tail, message, idle)
		}
	}
}

func FuzzError(f *testing.F) {
	f.Add([]byte("\xff\x15\x04#28000Access denied"))
	f.Add([]byte("\xff\x10\x04Too many connections"))
	f.Add([]byte("\xff\x15\x04#28"))
	f.Fuzz(func(t *testing.T, b []byte) {
		said, err := wire.ParseError(b)
		if err != nil {
			return
		}
		if out := errorPacket(&fault.Error{Kind: fault.UpstreamRefused, Err: said}, true, false); !bytes.Equal(out, b) {
			t.Fatalf("%q became %q", b, out)
		}
	})
}
