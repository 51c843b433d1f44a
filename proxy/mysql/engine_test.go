package mysql

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/nettest"
)

// trusting lets every login in and echoes what follows.
func trusting(p *scripted) {
	p.greet(realGreeting())
	p.send(okPacket)
	_, _ = io.Copy(p.Conn, p.R)
}

func TestGreetingAndResponsePassWithOnlyTheLoginChanged(t *testing.T) {
	got := make(chan wire.HandshakeResponse, 1)
	g := realGreeting()
	g.Capabilities |= mysql.CLIENT_SSL | mysql.CLIENT_COMPRESS | mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM
	r := newRig(t, nil, func(p *scripted) { got <- p.greet(g); p.send(okPacket + "info") })
	in := realResponse()
	in.Filler = append(make([]byte, 19), 1, 2, 3, 4) // MariaDB's further capabilities
	c := newPeer(t, r.Dial(t))
	told, reply := c.login(in)
	if told.Version != g.Version || told.ID != g.ID || told.Charset != g.Charset || told.Status != g.Status ||
		told.Reserved != g.Reserved || told.Capabilities != g.Capabilities&^wire.NotOffered || told.Plugin != g.Plugin || bytes.Equal(told.Salt, g.Salt) {
		t.Errorf("the client was told %+v", told)
	}
	// A client of native passwords is asked to switch, because the server named
	// caching_sha2; whatever it answers is accepted.
	if !strings.HasPrefix(reply, "\xfemysql_native_password\x00") {
		t.Fatalf("reply %q", reply)
	}
	c.send("whatever")
	out := <-got
	if out.User != "app" || out.Database != "orders" || out.Plugin != mysql.AUTH_CACHING_SHA2_PASSWORD ||
		!bytes.Equal(out.Auth, mysql.CalcCachingSha2Password(g.Salt, []byte(password))) {
		t.Errorf("the database got user %q, database %q, plugin %q, %x", out.User, out.Database, out.Plugin, out.Auth)
	}
	how := uint32(mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
	if out.Capabilities&^how != in.Capabilities&^how || out.MaxPacket != in.MaxPacket || out.Charset != in.Charset ||
		!bytes.Equal(out.Filler, in.Filler) || !bytes.Equal(out.Attributes, in.Attributes) {
		t.Errorf("the database got %+v, want %+v", out, in)
	}
	if ok := c.payload(); ok != okPacket+"info" {
		t.Errorf("OK %q", ok)
	}
}

// TestEveryClientIsLetIn goes through the ways in which clients answer, with and
// without a password.
func TestEveryClientIsLetIn(t *testing.T) {
	native, sha2, clear := mysql.AUTH_NATIVE_PASSWORD, mysql.AUTH_CACHING_SHA2_PASSWORD, mysql.AUTH_CLEAR_PASSWORD
	secret := strings.Repeat("x", 32)
	tests := []struct {
		name           string
		server, client string // plugins
		auth           string
		replies        []string // first bytes of what the client hears, up to OK
		answer         string   // to an AuthSwitchRequest
	}{
		{"native, no password", native, native, "", []string{"\x00"}, ""},
		{"native, a password", native, native, secret[:20], []string{"\x00"}, ""},
		{"sha2, no password", sha2, sha2, "", []string{"\x00"}, ""},
		{"sha2, no password, as the C library says it", sha2, sha2, "\x00", []string{"\x00"}, ""},
		{"sha2, a password", sha2, sha2, secret, []string{"\x01\x03", "\x00"}, ""},
		{"native client of a sha2 server", sha2, native, "", []string{"\xfe" + native, "\x00"}, ""},
		{"sha2 client of a native server", native, sha2, "", []string{"\xfe" + sha2, "\x00"}, "\x00"},
		{"sha2 client of a native server, a password", native, sha2, "", []string{"\xfe" + sha2, "\x01\x03", "\x00"}, secret},
		{"clear text", sha2, clear, "legacy\x00", []string{"\x00"}, ""},
		{"a plugin of its own", sha2, "dialog", "", []string{"\xfe" + sha2, "\x00"}, "\x00"},
		{"ed25519 server", "client_ed25519", native, "", []string{"\x00"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := realGreeting()
			g.Plugin = tt.server
			r := newRig(t, nil, func(p *scripted) { p.greet(g); p.send(okPacket) })
			c := newPeer(t, r.Dial(t))
			in := passwordless(tt.client)
			in.Auth = []byte(tt.auth)
			_, reply := c.login(in)
			for i, want := range tt.replies {
				if i > 0 {
					if tt.replies[i-1][0] == mysql.EOF_HEADER {
						c.send(tt.answer)
					}
					reply = c.payload()
				}
				if !strings.HasPrefix(reply, want) {
					t.Fatalf("reply %d is %q, want %q", i, reply, want)
				}
			}
		})
	}
}

func TestHostileOrBrokenDatabase(t *testing.T) {
	switchTo := func(p *scripted, plugin, data string) {
		p.greet(realGreeting())
		p.send("\xfe" + plugin + "\x00" + data)
	}
	salt := "abcdefghijklmnopqrst\x00"
	tests := []struct {
		name    string
		mode    config.TLSMode
		script  func(p *scripted)
		code    uint16
		message string
	}{
		{"closes at once", config.Disable, func(p *scripted) {}, 2003, "waiting for the greeting"},
		{"empty greeting", config.Disable, func(p *scripted) { p.send("") }, 2003, "the greeting"},
		{"truncated greeting", config.Disable, func(p *scripted) { p.send("\x0a8.0\x00abc") }, 2003, "the greeting"},
		{"protocol 9", config.Disable, func(p *scripted) { p.send("\x09old") }, 2003, "the greeting"},
		{"oversized greeting", config.Disable, func(p *scripted) { p.raw("\xff\xff\xff\x00") }, 2003, "the greeting"},
		{"wrong sequence", config.Disable, func(p *scripted) { p.Seq = 7; p.send("\x0a") }, 2003, "the greeting"},
		{"too many connections", config.Disable, func(p *scripted) { p.send("\xff\x10\x04Too many connections") }, 1040, "Too many connections"},
		{"host blocked", config.Disable, func(p *scripted) { p.send("\xff\x69\x04Host is blocked") }, 1129, "Host is blocked"},
		{"no TLS", config.VerifyFull, func(p *scripted) { p.greet(realGreeting()) }, 2026, "does not offer TLS"},
		{"no TLS, mode require", config.Require, func(p *scripted) { p.greet(realGreeting()) }, 2026, "does not offer TLS"},
		{"access denied", config.Disable, func(p *scripted) { p.greet(realGreeting()); p.send("\xff\x15\x04#28000Access denied") }, 1045, "Access denied"},
		{"unknown database", config.Disable, func(p *scripted) { p.greet(realGreeting()); p.send("\xff\x19\x04#42000Unknown database") }, 1049, "Unknown database"},
		{"truncated error", config.Disable, func(p *scripted) { p.greet(realGreeting()); p.send("\xff\x15") }, 2003, "cannot be read"},
		{"empty packet", config.Disable, func(p *scripted) { p.greet(realGreeting()); p.send("") }, 2003, "an empty packet"},
		{"unknown plugin", config.Disable, func(p *scripted) { switchTo(p, "authentication_kerberos_client", "x") }, 1105, "authentication_kerberos_client"},
		{"pre-4.1 passwords", config.Disable, func(p *scripted) { p.greet(realGreeting()); p.send("\xfe") }, 1105, "mysql_old_password"},
		{"second factor", config.Disable, func(p *scripted) { p.greet(realGreeting()); p.send("\x02webauthn_client\x00") }, 1105, "second factor"},
		{"short salt", config.Disable, func(p *scripted) { switchTo(p, mysql.AUTH_NATIVE_PASSWORD, "short\x00") }, 2003, "a salt of 5 bytes"},
		{"no salt", config.Disable, func(p *scripted) { switchTo(p, mysql.AUTH_CACHING_SHA2_PASSWORD, "") }, 2003, "a salt of 0 bytes"},
		{"clear text without TLS", config.Disable, func(p *scripted) { switchTo(p, mysql.AUTH_CLEAR_PASSWORD, ""); wantNothing(p) }, 1105, "the password was not sent"},
		{"endless switches", config.Disable, func(p *scripted) {
			p.greet(realGreeting())
			for range 100 {
				p.send("\xfe" + mysql.AUTH_NATIVE_PASSWORD + "\x00" + salt)
				p.payload()
			}
		}, 2003, "endless changes"},
		{"endless data", config.Disable, func(p *scripted) {
			p.greet(realGreeting())
			for range 100 {
				p.send("\x01\x03")
			}
		}, 2003, "endless"},
		{"data out of turn", config.Disable, func(p *scripted) { p.greet(realGreeting()); p.send("\x01\x09") }, 2003, "out of turn"},
		{"key that is none", config.Disable, func(p *scripted) { p.greet(realGreeting()); p.send("\x01\x04"); p.payload(); p.send("\x01garbage") }, 2003, "not PEM"},
		{"sha256 key that is none", config.Disable, func(p *scripted) {
			switchTo(p, mysql.AUTH_SHA256_PASSWORD, salt)
			p.payload()
			p.send("\x01-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
		}, 2003, "public key"},
		{"never answers", config.Disable, func(p *scripted) { p.greet(realGreeting()); p.payload() }, 2003, "took too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(e *Engine) { e.Upstream.Mode = tt.mode }, tt.script)
			c := newPeer(t, r.Dial(t))
			first := c.payload()
			if first != "" && first[0] != mysql.ERR_HEADER {
				_ = c.WritePacket(passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD).Encode())
				first = c.payload()
			}
			e := wantError(t, c, first)
			if e.Code != tt.code || !strings.Contains(e.Message, tt.message) {
				t.Errorf("client got %d %q, want %d …%q…", e.Code, e.Message, tt.code, tt.message)
			}
			if ours := strings.HasPrefix(e.Message, "credproxy: "); ours != (tt.code == 1105 || tt.code == 2003 || tt.code == 2026) {
				t.Errorf("message %q", e.Message)
			}
		})
	}
}

// wantNothing fails if the other side sends anything.
func wantNothing(p *scripted) {
	if b, _ := io.ReadAll(p.R); len(b) > 0 {
		p.t.Errorf("the database got %q", b)
	}
}

func TestHostileOrBrokenClient(t *testing.T) {
	tests := []struct {
		name, bytes string
		code        uint16 // 0: not answered
		seq         byte   // of the answer
	}{
		{"oversized", "\xff\xff\xff\x01", 1835, 1},
		{"wrong sequence", "\x01\x00\x00\x05x", 1835, 1},
		{"too short", "\x04\x00\x00\x01\x00\x02\x00\x00", 1835, 2},
		{"older than 4.1", "\x20\x00\x00\x01" + strings.Repeat("\x00", 32), 1835, 2},
		{"TLS that was not offered", "\x20\x00\x00\x01\x00\x0a\x00\x00" + strings.Repeat("\x00", 28), 1835, 2},
		{"leaves in the middle", "\x20\x00\x00\x01\x00", 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			done := make(chan string, 1)
			r := newRig(t, nil, func(p *scripted) {
				p.greet(realGreeting())
				p.send(okPacket)
				p.Seq = 0
				done <- p.payload()
			})
			c := newPeer(t, r.Dial(t))
			c.payload()
			c.raw(tt.bytes)
			if tt.code == 0 {
				_ = c.Conn.(*net.TCPConn).CloseWrite()
			}
			c.Seq = tt.seq
			reply := c.payload()
			if tt.code == 0 && reply != "" || tt.code != 0 && (len(reply) < 3 || reply[0] != 0xff || wantError(t, c, reply).Code != tt.code) {
				t.Errorf("reply %q", reply)
			}
			// Whatever the client did, the database saw an orderly session.
			if quit := <-done; quit != "\x01" {
				t.Errorf("the database got %q, want COM_QUIT", quit)
			}
		})
	}
}

// TestProbesLeaveNoHandshakeBehind connects and leaves, or connects and waits.
func TestProbesLeaveNoHandshakeBehind(t *testing.T) {
	var greeted, quit, broken atomic.Int32
	r := newRig(t, nil, func(p *scripted) {
		greeted.Add(1)
		p.greet(realGreeting())
		p.send(okPacket)
		p.Seq = 0
		if p.payload() == "\x01" {
			quit.Add(1)
		} else {
			broken.Add(1)
		}
	})
	before := runtime.NumGoroutine()
	for i := range 40 {
		c, err := net.Dial("tcp", r.Addr)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			_, _ = c.Read(make([]byte, 1))
		}
		if i%3 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_ = c.Close()
	}
	silent := r.Dial(t) // half-open
	r.Await(t, fault.ClientTimeout, 1)
	_ = silent
	nettest.Until(t, func() bool { return quit.Load() == greeted.Load() && quit.Load() > 30 }, "every handshake brought to an end")
	if broken.Load() > 0 {
		t.Errorf("%d handshakes broken off", broken.Load())
	}
	nettest.Until(t, func() bool { return runtime.NumGoroutine() <= before }, "goroutines back to where they were")
}

func TestChangeUser(t *testing.T) {
	for _, plugin := range []string{mysql.AUTH_NATIVE_PASSWORD, mysql.AUTH_CACHING_SHA2_PASSWORD} {
		t.Run(plugin, func(t *testing.T) {
			salt := []byte("ABCDEFGHIJKLMNOPQRST")
			r := newRig(t, nil, func(p *scripted) {
				resp := p.greet(realGreeting())
				p.send(okPacket)
				for i := range 100 {
					p.Seq = 0
					if q := p.payload(); q != "\x03SELECT 1" {
						t.Errorf("query %q", q)
					}
					p.send("result")
					p.Seq = 0
					cu, err := wire.ParseChangeUser([]byte(p.payload()), resp)
					if err != nil || cu.User != "app" || cu.Database != fmt.Sprint("db", i) || cu.Plugin != wire.NoPlugin || string(cu.Attributes) != "\x01a\x01b" {
						t.Errorf("change user %+v, %v", cu, err)
						return
					}
					p.send("\xfe" + mysql.AUTH_NATIVE_PASSWORD + "\x00" + string(salt) + "\x00")
					if got := p.payload(); got != string(mysql.CalcNativePassword(salt, []byte(password))) {
						t.Errorf("password %x", got)
					}
					p.send(okPacket + fmt.Sprint(i))
				}
			})
			c := newPeer(t, r.Dial(t))
			_, reply := c.login(passwordless(plugin))
			if reply[0] == 0xfe {
				c.send("")
				reply = c.payload()
			}
			if reply != okPacket {
				t.Fatalf("reply %q", reply)
			}
			for i := range 100 {
				c.Seq = 0
				c.send("\x03SELECT 1")
				if got := c.payload(); got != "result" {
					t.Fatalf("result %q", got)
				}
				c.Seq = 0
				cu := wire.ChangeUser{User: "me", Database: fmt.Sprint("db", i), Charset: [2]byte{45}, Attributes: []byte("\x01a\x01b")}
				payload := cu.Encode(mysql.CLIENT_CONNECT_ATTRS)
				c.send(string(bytes.Replace(payload, []byte(wire.NoPlugin), []byte(plugin), 1)))
				if got := c.payload(); !strings.HasPrefix(got, "\xfe"+plugin+"\x00") {
					t.Fatalf("change user: %q", got)
				}
				c.send("")
				if got := c.payload(); got != okPacket+fmt.Sprint(i) {
					t.Fatalf("change user: %q", got)
				}
			}
		})
	}
}

// TestChangeUserDuringLocalInfile sends a file whose pieces look like commands
// while the sequence ids wrap.
func TestChangeUserDuringLocalInfile(t *testing.T) {
	r := newRig(t, nil, trusting)
	c := newPeer(t, r.Dial(t))
	if _, reply := c.login(passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD)); reply != okPacket {
		t.Fatalf("reply %q", reply)
	}
	var sent bytes.Buffer
	packet := func(seq byte, payload string) {
		sent.Write([]byte{byte(len(payload)), byte(len(payload) >> 8), byte(len(payload) >> 16), seq})
		sent.WriteString(payload)
	}
	packet(0, "\x03LOAD DATA LOCAL INFILE")
	for i := range 700 {
		packet(byte(2+i), "\x11 looks like COM_CHANGE_USER")
	}
	packet(702%256, "")
	packet(0, "\x0e") // COM_PING
	go func() { _, _ = c.Conn.Write(sent.Bytes()) }()
	got := make([]byte, sent.Len())
	if _, err := io.ReadFull(c.R, got); err != nil || !bytes.Equal(got, sent.Bytes()) {
		t.Errorf("what came back differs (%v)", err)
	}
}

func TestLimits(t *testing.T) {
	r := newRig(t, func(e *Engine) { e.Databases = []string{"orders"} }, trusting)
	c := newPeer(t, r.Dial(t))
	other := passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD)
	other.Database = "mysql"
	if _, reply := c.login(other); wantError(t, c, reply).Code != mysql.ER_ACCESS_DENIED_ERROR {
		t.Errorf("reply %q", reply)
	}
	for range 50 {
		c := newPeer(t, r.Dial(t))
		if _, reply := c.login(passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD)); reply != okPacket {
			t.Fatalf("reply %q", reply)
		}
	}
	full := newPeer(t, r.Dial(t))
	if e := wantError(t, full, full.payload()); e.Code != mysql.ER_CON_COUNT_ERROR || e.State != "" {
		t.Errorf("%+v", e)
	}
}
