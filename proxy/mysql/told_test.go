package mysql

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/secrets"
)

// current offers whatever credential it holds.
type current struct {
	atomic.Pointer[secrets.Credential]
}

func offering(cred *secrets.Credential) *current {
	c := new(current)
	c.Store(cred)
	return c
}

func (c *current) Login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error {
	return try(ctx, c.Load())
}

func (c *current) Proven(context.Context, func(context.Context, *secrets.Credential) error) (*secrets.Credential, error) {
	return c.Load(), nil
}

func (c *current) Get(context.Context) (*secrets.Credential, error) { return c.Load(), nil }

func (*current) Status() secrets.Status { return secrets.Status{} }

// TestConnectAgain greets clients as a database that then is another. Who could tell hears
// so in place of an OK, and the other database hears of no credential.
func TestConnectAgain(t *testing.T) {
	const deprecateEOF, queryAttributes = 1 << 24, 1 << 27 // of which the client sets the first
	tests := []struct {
		name   string
		now    func(g *wire.Greeting)
		filler byte
		again  string // what the client is told; "" for an OK
	}{
		{"the same", func(*wire.Greeting) {}, 0, ""},
		{"MariaDB", func(g *wire.Greeting) { g.Version = "5.5.5-10.11.6-MariaDB" }, 0, "it is MariaDB 10.11, and the client was told MySQL 8.4"},
		{"another series", func(g *wire.Greeting) { g.Version = "9.7.0" }, 0, "it is MySQL 9.7"},
		{"another release", func(g *wire.Greeting) { g.Version = "8.4.1-log" }, 0, ""},
		{"a flag that the client set", func(g *wire.Greeting) { g.Capabilities &^= deprecateEOF }, 0, "capabilities"},
		{"a flag that it did not set", func(g *wire.Greeting) { g.Capabilities &^= queryAttributes }, 0, ""},
		{"a flag of the login alone", func(g *wire.Greeting) { g.Capabilities &^= mysql.CLIENT_CONNECT_ATTRS }, 0, ""},
		{"a flag of MariaDB that the client set", func(g *wire.Greeting) { g.Reserved[9] = 0 }, 4, "capabilities"},
		{"one that it did not set", func(g *wire.Greeting) { g.Reserved[9] = 0 }, 8, ""},
		{"the character set", func(g *wire.Greeting) { g.Charset = 8 }, 0, "character set"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			now, cred := realGreeting(), proxytest.Credential()
			tt.now(&now)
			var user atomic.Value
			r := newRig(t, func(e *Engine) {
				e.Credentials = offering(cred)
				e.keepGreeting(realGreeting())
				e.refused.Store(cred) // so that clients hear the last greeting
			}, func(p *scripted) { user.Store(p.greet(now).User); p.send(okPacket); p.Seq = 0; p.payload() })
			c := newPeer(t, r.Dial(t))
			in := passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD)
			in.Filler[22] = tt.filler
			_, reply := c.login(in)
			if tt.again == "" {
				if reply != okPacket {
					t.Errorf("got %q, want OK", reply)
				}
				return
			}
			e := wantError(t, c, reply)
			if e.Code != 2003 || e.State != "08S01" || !strings.Contains(e.Message, tt.again) || !strings.Contains(e.Message, "Connect again") {
				t.Errorf("the client is told %+v", e)
			}
			if user.Load() == "app" {
				t.Error("the other database was offered the credential")
			}
		})
	}
}

// TestFlagsThatNobodyOffered goes through what a client may set although the greeting
// lacks it: the database hears it, or credproxy does it, or the client is told that it
// cannot be had.
func TestFlagsThatNobodyOffered(t *testing.T) {
	for bit := range 32 {
		flag := uint32(1) << bit
		t.Run(flagName(flag), func(t *testing.T) {
			t.Parallel()
			g := realGreeting()
			g.Capabilities = mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_PLUGIN_AUTH
			heard := make(chan wire.HandshakeResponse, 1)
			r := newRig(t, nil, func(p *scripted) { heard <- p.greet(g); p.send(okPacket); p.Seq = 0; p.payload() })
			c := newPeer(t, r.Dial(t))
			in := passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD)
			in.Capabilities, in.Database = mysql.CLIENT_PROTOCOL_41|mysql.CLIENT_SECURE_CONNECTION|mysql.CLIENT_PLUGIN_AUTH|flag, ""
			_, reply := c.login(in)
			if flag == mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM {
				if e := wantError(t, c, reply); !strings.Contains(e.Message, "CLIENT_ZSTD_COMPRESSION_ALGORITHM") {
					t.Errorf("the client is told %+v", e)
				}
				return
			}
			if reply != okPacket {
				t.Fatalf("got %q, want OK", reply)
			}
			const framing = mysql.CLIENT_COMPRESS | mysql.CLIENT_SSL // done on the client's leg, if at all
			loginsOwn := uint32(mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
			if got := <-heard; (got.Capabilities^in.Capabilities)&^(framing|loginsOwn) != 0 || got.Capabilities&framing != 0 {
				t.Errorf("the database heard %#x of %#x", got.Capabilities, in.Capabilities)
			}
		})
	}
}

func flagName(flag uint32) string {
	switch flag {
	case mysql.CLIENT_COMPRESS:
		return "CLIENT_COMPRESS"
	case mysql.CLIENT_SSL:
		return "CLIENT_SSL"
	case mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM:
		return "CLIENT_ZSTD_COMPRESSION_ALGORITHM"
	case mysql.MULTI_FACTOR_AUTHENTICATION:
		return "MULTI_FACTOR_AUTHENTICATION"
	case 1 << 27:
		return "CLIENT_QUERY_ATTRIBUTES"
	}
	return "bit"
}

// TestChangeUserFollowsTheSecret has the secret lead to another place between a login and a
// COM_CHANGE_USER. The new credential is offered there, and not to the old place.
func TestChangeUserFollowsTheSecret(t *testing.T) {
	for _, tt := range []struct{ name, version, reply string }{
		{"same release", "8.4.0", okPacket},
		{"another release", "9.7.0", "Connect again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			next := proxytest.Listen(t)
			defer next.Close()
			users, old := make(chan string, 4), make(chan string, 1)
			go func() {
				for {
					conn, err := next.Accept()
					if err != nil {
						return
					}
					p := newPeer(t, conn)
					g := realGreeting()
					g.Version = tt.version
					users <- p.greet(g).User
					p.send(okPacket)
					p.Seq = 0
					p.payload()
					_ = conn.Close()
				}
			}()
			creds := new(current)
			var first int
			r := newRig(t, func(e *Engine) {
				first, e.Upstream.Port, e.Credentials = e.Upstream.Port, 0, creds
			}, func(p *scripted) {
				p.greet(realGreeting())
				p.send(okPacket)
				p.Seq = 0
				old <- p.payload()
			})
			at := func(version string, port int) *secrets.Credential {
				c := proxytest.Credential()
				c.VersionID, c.Endpoint.Port = version, port
				return c
			}
			creds.Store(at("v1", first))
			c := newPeer(t, r.Dial(t))
			if _, reply := c.login(passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD)); reply != okPacket {
				t.Fatalf("reply %q", reply)
			}
			creds.Store(at("v2", next.Addr().(*net.TCPAddr).Port))
			c.Seq = 0
			cu := wire.ChangeUser{User: "me", Charset: [2]byte{45}}.Encode(mysql.CLIENT_CONNECT_ATTRS)
			c.send(strings.Replace(string(cu), wire.NoPlugin, mysql.AUTH_CACHING_SHA2_PASSWORD, 1))
			c.payload() // the switch
			c.send("")
			if got := c.payload(); !strings.Contains(got, tt.reply) {
				t.Errorf("got %q, want %q", got, tt.reply)
			}
			if got := <-old; got != "\x01" {
				t.Errorf("the old place got %q, want COM_QUIT", got)
			}
			if got := <-users; (got == "app") != (tt.reply == okPacket) {
				t.Errorf("the new place saw user %s", got)
			}
		})
	}
}

// TestNothingOfTheLoginIsKept has a client with as many attributes as a login may have. Its
// session does not hold them.
func TestNothingOfTheLoginIsKept(t *testing.T) {
	in := passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD)
	in.Attributes = make([]byte, 60000)
	got, err := wire.ParseHandshakeResponse(in.Encode())
	if err != nil {
		t.Fatal(err)
	}
	got.ForgetLogin()
	if got.Attributes != nil || got.Auth != nil || cap(got.Filler) > 64 {
		t.Errorf("kept: %d bytes of attributes, %d of the password, %d around the filler", len(got.Attributes), len(got.Auth), cap(got.Filler))
	}
}
