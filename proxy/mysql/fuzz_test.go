package mysql

import (
	"bufio"
	"bytes"
	"slices"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/secrets"
)

func realGreeting() greeting {
	return greeting{version: "8.4.0", id: 42, caps: 0xdfffffff &^ notOffered, charset: 255, status: [2]byte{2, 0},
		reserved: [10]byte{9: 7}, salt: []byte("abcdefghijklmnopqrst"), plugin: mysql.AUTH_CACHING_SHA2_PASSWORD}
}

func realResponse() response {
	return response{caps: 0x01ffa68d, maxPacket: 1 << 24, charset: 45, filler: make([]byte, 23), user: "anybody",
		auth: []byte("12345678901234567890"), database: "orders", plugin: mysql.AUTH_NATIVE_PASSWORD, attrs: []byte("\x04_pid\x0217")}
}

func FuzzGreeting(f *testing.F) {
	f.Add(realGreeting().encode())
	f.Add([]byte("\x0a5.5\x00"))
	f.Add([]byte("\xff\x10\x04Too many connections"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := parseGreeting(b)
		if err != nil {
			return
		}
		again, err := parseGreeting(g.encode())
		if err != nil || again.version != g.version || again.id != g.id || again.caps != g.caps ||
			again.reserved != g.reserved || !bytes.Equal(again.salt, g.salt) || again.plugin != g.plugin {
			t.Fatalf("%+v became %+v (%v)", g, again, err)
		}
		told := g.forClient(false)
		if told.caps&notOffered != 0 || len(told.salt) != saltSize || bytes.IndexByte(told.salt, 0) >= 0 {
			t.Fatalf("the client is told %+v", told)
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add(realResponse().encode())
	f.Add(realResponse().head())
	f.Add(append(realResponse().head(), 'x'))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseResponse(b)
		if err != nil {
			return
		}
		out := r.forServer(realGreeting().caps, "app", "fallback", mysql.AUTH_NATIVE_PASSWORD, true)
		out.auth = []byte("12345678901234567890")
		again, err := parseResponse(out.encode())
		if err != nil {
			t.Fatalf("%+v: %v", out, err)
		}
		// Only what says how the password travels may differ.
		ours := uint32(notOffered | mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA |
			mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_CONNECT_WITH_DB)
		if again.caps&^ours != r.caps&^ours || again.user != "app" || again.maxPacket != r.maxPacket || again.charset != r.charset ||
			!bytes.Equal(again.filler, r.filler) || !bytes.Equal(again.attrs, r.attrs) {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}

func FuzzChangeUser(f *testing.F) {
	f.Add(changeUser{user: "anybody", database: "orders", charset: [2]byte{45}, attrs: []byte("\x01a\x01b")}.encode(mysql.CLIENT_CONNECT_ATTRS), uint32(0x01ffa68d))
	f.Add([]byte("\x11u\x00"), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, caps uint32) {
		r := realResponse()
		r.caps = caps
		c, err := parseChangeUser(b, r)
		if err != nil {
			return
		}
		r.caps |= mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_PLUGIN_AUTH
		again, err := parseChangeUser(c.encode(r.caps), r)
		if err != nil || again.user != c.user || again.database != c.database || again.charset != c.charset || !bytes.Equal(again.attrs, c.attrs) {
			t.Fatalf("%+v became %+v (%v)", c, again, err)
		}
	})
}

func FuzzPackets(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00x\x02\x00\x00\x01yz"))
	f.Add([]byte("\xff\xff\xff\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &packetConn{r: bufio.NewReader(bytes.NewReader(b))}
		for {
			p, err := c.read()
			if err != nil {
				return
			}
			if len(p) > maxLoginPacket {
				t.Fatalf("a packet of %d bytes", len(p))
			}
		}
	})
}

// FuzzAuthentication feeds an authenticator what a database may say. The
// password must not go out in clear text, and it must come to an end.
func FuzzAuthentication(f *testing.F) {
	f.Add([]byte("\x1a\x00\x00\x00\xfemysql_clear_password\x00"), uint8(0))
	f.Add([]byte("\x2c\x00\x00\x00\xfecaching_sha2_password\x00abcdefghijklmnopqrst\x00\x02\x00\x00\x02\x01\x04"), uint8(0))
	f.Add([]byte("\x01\x00\x00\x00\xfe"), uint8(1))
	f.Add([]byte("\x01\x00\x00\x00\x02"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, link uint8) {
		a := &authenticator{cred: proxytest.Credential(), link: secrets.Link(link % 3)}
		a.begin(mysql.AUTH_NATIVE_PASSWORD, []byte("abcdefghijklmnopqrst"))
		c := &packetConn{r: bufio.NewReader(bytes.NewReader(b))}
		for {
			p, err := c.read()
			if err != nil {
				return
			}
			reply, done, err := a.answer(p)
			if bytes.Contains(reply, []byte(proxytest.Password)) {
				shared := a.plugin == mysql.AUTH_CACHING_SHA2_PASSWORD || a.plugin == mysql.AUTH_SHA256_PASSWORD
				if a.link == secrets.NotEncrypted || a.link != secrets.Verified && !shared {
					t.Fatalf("the password went out by %s over a link that is %v", a.plugin, a.link)
				}
			}
			if done || err != nil {
				return
			}
			if reply != nil {
				c.seq++
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
		if out := errorPacket(err, true); len(out) < 3 || out[0] != mysql.ERR_HEADER {
			t.Fatalf("%q became %q", b, out)
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
		for at := 0; at+headerSize <= len(b); {
			size, seq := int(b[at])|int(b[at+1])<<8|int(b[at+2])<<16, b[at+3]
			continues := last == maxPayload || lastSeq == 255 && last > 0
			if seq == 0 && !continues && size > 0 && at+headerSize < len(b) && b[at+headerSize] == mysql.COM_CHANGE_USER {
				want = at
				break
			}
			last, lastSeq = size, seq
			at += headerSize + size
		}
		var s scanner
		var passed, pending []byte
		for rest := b; ; {
			n := min(int(step)+1, len(rest))
			pending, rest = append(pending, rest[:n]...), rest[n:]
			pass, stop := s.scan(pending)
			passed = append(passed, pending[:pass]...)
			pending = slices.Clone(pending[pass:])
			if stop {
				if len(passed) != want {
					t.Fatalf("stopped at %d, want %d", len(passed), want)
				}
				return
			}
			if len(pending) > headerSize {
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
