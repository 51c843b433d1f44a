package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/secrets"
)

// trusting lets every login in without a password, and echoes what follows.
func trusting(p *scripted) {
	p.packet()
	p.send(authOK + frame('S', "server_version\x0015.0\x00") + frame('K', "\x00\x00\x00\x07abcd") + readyIdle)
	_, _ = io.Copy(p.Conn, p.r)
}

func TestStartupIsForwardedInOrderWithOnlyTheUserChanged(t *testing.T) {
	got := make(chan []byte, 1)
	r := newRig(t, func(e *Engine) { e.Database, e.Role = "fallback", "owner" }, func(p *scripted) { got <- p.packet() })
	c := newPeer(t, r.Dial(t))
	in := wire.Startup{Version: 3<<16 | 2, Params: []wire.Param{
		{Name: "application_name", Value: "größe"}, {Name: "user", Value: "anybody"}, {Name: "_pq_.future", Value: "1"}, {Name: "options", Value: "-c geqo=off"},
		{Name: "options", Value: "-c x=y"}, {Name: "client_encoding", Value: "UTF8"}}}
	_, _ = c.Write(in.Encode())
	want := slices.Clone(in.Params)
	want[1].Value = "app"
	want = append(want, wire.Param{Name: "database", Value: "fallback"}, wire.Param{Name: "role", Value: "owner"})
	out, err := wire.ParseStartup(<-got)
	if err != nil || out.Version != in.Version || !slices.Equal(out.Params, want) {
		t.Errorf("the database saw %+v (%v), want %+v", out, err, want)
	}
}

func TestDatabaseOfTheSession(t *testing.T) {
	cred := secrets.NewCredential("app", "x")
	cred.Endpoint.Database = "of-secret"
	user := wire.Param{Name: "user", Value: "anybody"}
	tests := []struct {
		name       string
		params     []wire.Param
		configured string
		cred       *secrets.Credential
		want       string // the database parameter sent, "-" for none
	}{
		{"the client's", []wire.Param{user, {Name: "database", Value: "mine"}}, "conf", cred, "mine"},
		{"the configuration's", []wire.Param{user}, "conf", cred, "conf"},
		{"empty is none", []wire.Param{user, {Name: "database", Value: ""}}, "conf", cred, "conf"},
		{"the secret's", []wire.Param{user}, "", cred, "of-secret"},
		{"the client's user, as the server does", []wire.Param{user}, "", secrets.NewCredential("app", "x"), "anybody"},
		{"physical replication has none", []wire.Param{user, {Name: "replication", Value: "true"}}, "conf", cred, "-"},
		{"logical replication has one", []wire.Param{user, {Name: "replication", Value: "database"}}, "conf", cred, "conf"},
	}
	for _, tt := range tests {
		e := Engine{Database: tt.configured, Role: "owner"}
		want := wire.Startup{Version: 3 << 16, Params: tt.params}
		params := e.params(want, nil)
		out := want.Rewritten("app", params.DatabaseFor(tt.cred), e.Role)
		got := "-"
		for _, p := range out.Params {
			if p.Name == "database" {
				got = p.Value
			}
		}
		if got != tt.want {
			t.Errorf("%s: database %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestHostileOrBrokenDatabase(t *testing.T) {
	sasl := frame('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00")
	// challenge answers a client-first-message with what change makes of its nonce.
	challenge := func(p *scripted, change func(nonce string) string) {
		p.packet()
		p.send(sasl)
		_, body := p.message()
		_, nonce, _ := strings.Cut(string(body), "r=")
		p.send(frame('R', "\x00\x00\x00\x0b"+change(nonce)))
	}
	tests := []struct {
		name    string
		mode    config.TLSMode
		script  func(p *scripted)
		code    string
		message string
	}{
		{"does not offer TLS", config.VerifyFull, func(p *scripted) { p.packet(); p.send("N") }, "57P03", "does not offer TLS"},
		{"does not offer TLS, mode require", config.Require, func(p *scripted) { p.packet(); p.send("N") }, "57P03", "does not offer TLS"},
		{"answers nonsense to the TLS request", config.Require, func(p *scripted) { p.packet(); p.send("E\x00\x00") }, "57P03", "request for TLS"},
		{"breaks off the TLS handshake", config.Require, func(p *scripted) { p.packet(); p.send("S") }, "57P03", "TLS handshake"},
		{"closes at once", config.Disable, func(p *scripted) {}, "57P03", "broke during login"},
		{"claims 4 GiB", config.Disable, func(p *scripted) { p.packet(); p.send("R\xff\xff\xff\xff") }, "57P03", "broke during login"},
		{"length below itself", config.Disable, func(p *scripted) { p.packet(); p.send("R\x00\x00\x00\x03") }, "57P03", "broke during login"},
		{"truncated request", config.Disable, func(p *scripted) { p.packet(); p.send(frame('R', "\x00\x00")) }, "57P03", "without a code"},
		{"row out of turn", config.Disable, func(p *scripted) { p.packet(); p.send(frame('D', "\xff\xff")) }, "57P03", "out of turn"},
		{"endless notices", config.Disable, func(p *scripted) {
			p.packet()
			for range 10_000 {
				p.send(frame('N', "Mhello\x00\x00"+strings.Repeat("x", 100)))
			}
		}, "57P03", "endless notices"},
		{"Kerberos", config.Disable, func(p *scripted) { p.packet(); p.send(askKerberos) }, "28000", "Kerberos V5"},
		{"unknown SASL", config.Disable, func(p *scripted) { p.packet(); p.send(frame('R', "\x00\x00\x00\x0aOAUTHBEARER\x00\x00")) }, "28000", "OAUTHBEARER"},
		{"SASL list without end", config.Disable, func(p *scripted) { p.packet(); p.send(frame('R', "\x00\x00\x00\x0aSCRAM-SHA-256")) }, "57P03", "SASL mechanisms"},
		{"SASL list with a leading NUL", config.Disable, func(p *scripted) { p.packet(); p.send(frame('R', "\x00\x00\x00\x0a\x00SCRAM-SHA-256\x00\x00")) }, "57P03", "SASL mechanisms"},
		{"clear text without TLS", config.Disable, func(p *scripted) { p.packet(); p.send(askClear); p.wantNothing() }, "28000", "the password was not sent"},
		{"OK before the proof", config.Disable, func(p *scripted) { p.packet(); p.send(sasl); p.message(); p.send(authOK) }, "57P03", "without proving"},
		{"clear text in the middle of SCRAM", config.Disable, func(p *scripted) { p.packet(); p.send(sasl); p.message(); p.send(askClear); p.wantNothing() }, "57P03", "middle of SCRAM"},
		{"nonce of its own", config.Disable, func(p *scripted) { challenge(p, func(string) string { return "r=other,s=c2FsdA==,i=4096" }) }, "57P03", "SCRAM challenge"},
		{"endless iterations", config.Disable, func(p *scripted) {
			challenge(p, func(n string) string { return "r=" + n + "x,s=c2FsdA==,i=2147483647" })
		}, "57P03", "SCRAM challenge"},
		{"one iteration, unverified", config.Disable, func(p *scripted) { challenge(p, func(n string) string { return "r=" + n + "x,s=c2FsdA==,i=1" }) }, "57P03", "SCRAM challenge"},
		{"endless nonce", config.Disable, func(p *scripted) {
			challenge(p, func(n string) string { return "r=" + n + strings.Repeat("x", 5000) + ",s=c2FsdA==,i=4096" })
		}, "57P03", "SCRAM challenge"},
		{"wrong proof", config.Disable, func(p *scripted) {
			challenge(p, func(n string) string { return "r=" + n + "x,s=c2FsdA==,i=4096" })
			p.message()
			p.send(frame('R', "\x00\x00\x00\x0cv=AAAA"))
		}, "57P03", "does not prove"},
		{"proof out of turn", config.Disable, func(p *scripted) { p.packet(); p.send(frame('R', "\x00\x00\x00\x0cv=AAAA")) }, "57P03", "out of turn"},
		{"error without SQLSTATE", config.Disable, func(p *scripted) { p.packet(); p.send(frame('E', "SFATAL\x00Mno\x00\x00")) }, "", "no"},
		{"truncated error", config.Disable, func(p *scripted) { p.packet(); p.send(frame('E', "SFATAL")) }, "57P03", "cannot be read"},
		{"refuses the password", config.Disable, func(p *scripted) { p.packet(); p.send(frame('E', "SFATAL\x00C28P01\x00Mwrong\x00\x00")) }, "28P01", "wrong"},
		{"never answers", config.Disable, func(p *scripted) { p.packet(); p.wantNothing() }, "57P03", "took too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(e *Engine) { e.Upstream.Mode = tt.mode }, tt.script)
			c := newPeer(t, r.Dial(t))
			c.startup()
			e := c.fatal()
			if e.Code != tt.code || !strings.Contains(e.Message, tt.message) {
				t.Errorf("client got %s %q, want %s …%q…", e.Code, e.Message, tt.code, tt.message)
			}
			ours := strings.HasPrefix(e.Message, "credproxy: ")
			if fromDatabase := tt.code == "" || tt.code == "28P01"; ours == fromDatabase {
				t.Errorf("message %q", e.Message)
			}
			if strings.Contains(fmt.Sprintf("%+v", e), password) {
				t.Errorf("the password is in the error: %+v", e)
			}
		})
	}
}

// wantNothing fails if the other side sends anything.
func (p *scripted) wantNothing() {
	b, _ := io.ReadAll(p.r)
	if len(b) > 0 {
		p.t.Errorf("the database got %q", b)
	}
}

func TestErrorAfterAuthenticationPassesAsItCame(t *testing.T) {
	refusal := frame('E', "SFATAL\x00C3D000\x00Mdatabase \"x\" does not exist\x00\x00")
	notice := frame('N', "SWARNING\x00C01000\x00Mit is late\x00\x00")
	for _, late := range []string{refusal, notice + refusal, frame('S', "a\x00b\x00") + refusal} {
		r := newRig(t, nil, func(p *scripted) { p.packet(); p.send(notice + authOK + late) })
		c := newPeer(t, r.Dial(t))
		c.startup()
		if got, _ := io.ReadAll(c.r); string(got) != notice+authOK+late {
			t.Errorf("client got %q, want %q", got, notice+authOK+late)
		}
		r.Await(t, fault.UpstreamRefused, 1)
	}
}

// numbered is a source with one version, the later the higher its number.
type numbered struct{ version atomic.Int64 }

func (*numbered) Kind() string { return "test" }

func (s *numbered) Fetch(_ context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	if stage != secrets.Current {
		return nil, secrets.Errorf(secrets.NoVersion, "nothing is labelled %s", stage)
	}
	c := secrets.NewCredential(fmt.Sprint("app", s.version.Load()), password)
	c.UseLocalVersion()
	return c, nil
}

// TestRefusalsThatDependOnTheUser has the database refuse the first user, before or after
// it takes the password. Those that another user might not get have the secret looked at,
// which names one by now.
func TestRefusalsThatDependOnTheUser(t *testing.T) {
	for _, tt := range []struct {
		name, refusal string // fields of the ErrorResponse
		another       bool   // user is tried
	}{
		{"no LOGIN", authOK + frame('E', "SFATAL\x00C28000\x00Mrole \"app0\" is not permitted to log in\x00\x00"), true},
		{"no line in pg_hba.conf", frame('E', "SFATAL\x00C28000\x00Mno pg_hba.conf entry\x00\x00"), true},
		{"no CONNECT", authOK + frame('E', "SFATAL\x00C42501\x00Mpermission denied\x00\x00"), true},
		{"the role's limit", authOK + frame('E', "SFATAL\x00C53300\x00Mtoo many\x00RInitializeSessionUserId\x00\x00"), true},
		{"the server's limit", frame('E', "SFATAL\x00C53300\x00Mtoo many\x00RInitProcess\x00\x00"), false},
		{"no such database", authOK + frame('E', "SFATAL\x00C3D000\x00Mno\x00\x00"), false},
		{"starting up", frame('E', "SFATAL\x00C57P03\x00Mno\x00\x00"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := &numbered{}
			cache := secrets.New(src, secrets.Options{})
			defer cache.Close()
			if _, err := cache.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
			src.version.Store(1)
			r := newRig(t, func(e *Engine) { e.Credentials = cache }, func(p *scripted) {
				if bytes.Contains(p.packet(), []byte("app0")) {
					p.send(tt.refusal)
					return
				}
				p.send(authOK + readyIdle)
			})
			c := newPeer(t, r.Dial(t))
			c.startup()
			kind, _ := c.message()
			if kind == 'R' {
				kind, _ = c.message()
			}
			if want := map[bool]byte{true: 'Z', false: 'E'}[tt.another]; kind != want {
				t.Errorf("message %q, want %q", kind, want)
			}
		})
	}
}

func TestBytesAfterLoginPassUnchanged(t *testing.T) {
	r := newRig(t, nil, trusting)
	c := newPeer(t, r.Dial(t))
	// The client does not wait for the OK: what it sends early must not be lost.
	payload := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	s := wire.Startup{Version: 3 << 16, Params: []wire.Param{{Name: "user", Value: "anybody"}}}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = c.Write(append(s.Encode(), payload...))
		_ = c.Conn.(*net.TCPConn).CloseWrite()
	})
	for _, want := range []byte("RSK") {
		if kind, _ := c.message(); kind != want {
			t.Fatalf("message %q, want %q", kind, want)
		}
	}
	got, err := io.ReadAll(c.r)
	wg.Wait()
	if err != nil || string(got) != readyIdle+string(payload) {
		t.Errorf("%d bytes came back (%v), want %d", len(got), err, len(readyIdle)+len(payload))
	}
}

func TestEncryptionRequests(t *testing.T) {
	ssl, gss := "\x00\x00\x00\x08\x04\xd2\x16\x2f", "\x00\x00\x00\x08\x04\xd2\x16\x30"
	tests := []struct {
		name, requests, answers string
		ok                      bool
	}{
		{"none", "", "", true},
		{"SSL", ssl, "N", true},
		{"GSS", gss, "N", true},
		{"SSL, GSS", ssl + gss, "NN", true},
		{"GSS, SSL", gss + ssl, "NN", true},
		{"SSL twice", ssl + ssl, "N", false},
		{"GSS twice", gss + gss, "N", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, nil, trusting)
			c := newPeer(t, r.Dial(t))
			c.send(tt.requests)
			answers := make([]byte, len(tt.answers))
			if _, err := io.ReadFull(c.r, answers); err != nil || string(answers) != tt.answers {
				t.Fatalf("answers %q (%v), want %q", answers, err, tt.answers)
			}
			if tt.ok {
				c.startup()
			}
			kind, _ := c.message()
			if tt.ok && kind != 'R' || !tt.ok && kind != 'E' {
				t.Errorf("message %q", kind)
			}
		})
	}
}

func TestMalformedStartupPackets(t *testing.T) {
	framed := func(version uint32, rest string) string {
		b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
		return string(binary.BigEndian.AppendUint32(b, version)) + rest
	}
	tests := []struct{ name, packet, code string }{
		{"no user", framed(3<<16, "database\x00x\x00\x00"), "28000"},
		{"empty user", framed(3<<16, "user\x00\x00\x00"), "28000"},
		{"protocol 2.0", framed(2<<16, "user\x00x\x00\x00"), "0A000"},
		{"no terminator", framed(3<<16, "user\x00x\x00"), "08P01"},
		{"name without value", framed(3<<16, "user\x00"), "08P01"},
		{"bytes after the end", framed(3<<16, "user\x00x\x00\x00more"), "08P01"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		{"too long", framed(3<<16, strings.Repeat("x", wire.MaxStartupPacket)), ""},
		{"too short", "\x00\x00\x00\x04", ""},
		{"TLS, not configured", "\x16\x03\x01\x02\x00\x01", ""},
	}
	r := newRig(t, nil, trusting)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newPeer(t, r.Dial(t))
			c.send(tt.packet)
			if tt.code == "" {
				if b, _ := io.ReadAll(c.r); len(b) > 0 {
					t.Errorf("answered %q", b)
				}
				return
			}
			if e := c.fatal(); e.Code != tt.code || !strings.HasPrefix(e.Message, "credproxy: ") {
				t.Errorf("%s %q, want code %s", e.Code, e.Message, tt.code)
			}
		})
	}
}

func TestAccessToDatabases(t *testing.T) {
	r := newRig(t, func(e *Engine) { e.Databases = []string{"orders"} }, trusting)
	for database, ok := range map[string]bool{"orders": true, "postgres": false, "": false} {
		c := newPeer(t, r.Dial(t))
		c.startup("database", database)
		if ok {
			if kind, _ := c.message(); kind != 'R' {
				t.Errorf("database %q: message %q", database, kind)
			}
		} else if e := c.fatal(); e.Code != "28000" || e.Hint == "" {
			t.Errorf("database %q: %+v", database, e)
		}
	}
	for _, word := range []string{"true", "t", "TR", "on", "y", "1", "database", "Database", "o", ""} {
		for _, pairs := range [][]string{{"replication", word}, {"replication", word, "replication", "off"}, {"replication", "off", "replication", word}} {
			c := newPeer(t, r.Dial(t))
			c.startup(append(pairs, "database", "orders")...)
			if e := c.fatal(); e.Code != "28000" || !strings.Contains(e.Message, "replication reads every database") {
				t.Errorf("%q: %+v", pairs, e)
			}
		}
	}
	for _, word := range []string{"false", "F", "off", "of", "no", "0"} {
		c := newPeer(t, r.Dial(t))
		c.startup("database", "orders", "replication", word)
		if kind, _ := c.message(); kind != 'R' {
			t.Errorf("replication=%s: message %q", word, kind)
		}
	}
}

func TestReplicationAllowed(t *testing.T) {
	r := newRig(t, func(e *Engine) { e.Databases, e.Replication = []string{"orders"}, true }, trusting)
	for _, tt := range []struct {
		database, replication string
		ok                    bool
	}{
		{"orders", "database", true}, {"postgres", "database", false}, {"postgres", "true", true}, {"", "on", true},
	} {
		c := newPeer(t, r.Dial(t))
		c.startup("database", tt.database, "replication", tt.replication)
		if tt.ok {
			if kind, _ := c.message(); kind != 'R' {
				t.Errorf("%+v: message %q", tt, kind)
			}
		} else if e := c.fatal(); e.Code != "28000" || !strings.Contains(e.Message, "may not be used") {
			t.Errorf("%+v: %+v", tt, e)
		}
	}
}

// TestDatabaseInstead has a server with the database orders answer clients
// whose user is anybody.
func TestDatabaseInstead(t *testing.T) {
	const missing = "SFATAL\x00C3D000\x00Mno such database\x00\x00"
	tests := []struct {
		name                string
		configured, allowed string
		asked, warning      string
		got                 string // the database of the session; "" for 3D000
		logins              int
	}{
		{"the user's name", "orders", "", "anybody", "", "orders", 2},
		{"none", "orders", "", "", "", "orders", 1},
		{"another", "orders", "", "other", "", "", 1},
		{"no default", "", "", "anybody", "", "", 1},
		{"the default is as missing", "gone", "", "anybody", "", "", 2},
		{"the default is the user's name", "anybody", "", "anybody", "", "", 1},
		{"access.databases", "orders", "anybody", "anybody", "", "", 1},
		{"a notice first", "orders", "", "anybody", frame('N', "Mhello\x00\x00"), "orders", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			logins := make(chan string, 10)
			r := newRig(t, func(e *Engine) {
				if e.Database = tt.configured; tt.allowed != "" {
					e.Databases = []string{tt.allowed}
				}
			}, func(p *scripted) {
				s, err := wire.ParseStartup(p.packet())
				if err != nil {
					t.Error(err)
				}
				logins <- s.Get("database")
				p.send(authOK)
				if s.Get("database") != "orders" {
					p.send(tt.warning + frame('E', missing))
					return
				}
				p.send(frame('S', "server_version\x0015.0\x00") + frame('K', "\x00\x00\x00\x07abcd") + readyIdle)
				_, _ = io.Copy(io.Discard, p.r)
			})
			c := newPeer(t, r.Dial(t))
			c.startup("database", tt.asked)
			var kinds []byte
			for kind, _ := c.message(); kind != 0; kind, _ = c.message() {
				if kinds = append(kinds, kind); kind == 'Z' {
					break
				}
			}
			want := "RSKZ"
			if tt.got == "" {
				want = "RE"
			}
			if got := strings.ReplaceAll(string(kinds), "N", ""); got != want {
				t.Errorf("the client got messages %q, want %q", kinds, want)
			}
			if len(logins) != tt.logins {
				t.Errorf("%d logins, want %d", len(logins), tt.logins)
			}
			var last string
			for range tt.logins {
				last = <-logins
			}
			if tt.got != "" && last != tt.got {
				t.Errorf("in database %q, want %q", last, tt.got)
			}
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	r := newRig(t, nil, trusting)
	for range 50 {
		c := newPeer(t, r.Dial(t))
		c.startup()
		if kind, _ := c.message(); kind != 'R' {
			t.Fatalf("message %q", kind)
		}
	}
	c := newPeer(t, r.Dial(t))
	c.startup()
	if e := c.fatal(); e.Code != "53300" || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	// A cancel still gets through: it counts toward no limit.
	cancel := newPeer(t, r.Dial(t))
	cancel.send("\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x07wxyz")
	if b, err := io.ReadAll(cancel.r); err != nil || len(b) > 0 {
		t.Errorf("cancel: %q, %v", b, err)
	}
}

func TestDrainServesThoseWhoCameBefore(t *testing.T) {
	r := newRig(t, nil, trusting)
	old := newPeer(t, r.Dial(t))
	old.startup()
	for _, want := range []byte("RSKZ") {
		if kind, _ := old.message(); kind != want {
			t.Fatalf("message %q, want %q", kind, want)
		}
	}
	asking, silent := newPeer(t, r.Dial(t)), newPeer(t, r.Dial(t))
	asking.send("\x00\x00\x00\x08\x04\xd2\x16\x2f") // SSLRequest, whose answer says that it was accepted
	if b, err := asking.r.ReadByte(); err != nil || b != 'N' {
		t.Fatalf("answer %q, %v", b, err)
	}
	r.Server.CloseLobby()
	asking.startup()
	for _, want := range []byte("RSKZ") {
		if kind, _ := asking.message(); kind != want {
			t.Fatalf("message %q, want %q", kind, want)
		}
	}
	if b, err := io.ReadAll(silent.r); len(b) > 0 {
		t.Errorf("a client that asks for nothing: %q, %v", b, err)
	}
	old.send(frame('Q', "hello\x00"))
	if kind, body := old.message(); kind != 'Q' || string(body) != "hello\x00" {
		t.Errorf("the old session got %q %q", kind, body)
	}
}

// TestClientsThatVanishOrDawdleLeaveNothingBehind breaks off at each byte of a
// login and counts goroutines.
func TestClientsThatVanishOrDawdleLeaveNothingBehind(t *testing.T) {
	r := newRig(t, nil, trusting)
	before := runtime.NumGoroutine()
	whole := "\x00\x00\x00\x08\x04\xd2\x16\x2f" + string(wire.Startup{Version: 3 << 16, Params: []wire.Param{{Name: "user", Value: "x"}}}.Encode())
	for i := range len(whole) {
		c, err := net.Dial("tcp", r.Addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, whole[:i])
		if i%2 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0) // a reset instead of an end
		}
		_ = c.Close()
	}
	dawdler := newPeer(t, r.Dial(t))
	dawdler.send(whole[:10])
	r.Await(t, fault.ClientTimeout, 1)
	nettest.Until(t, func() bool { return runtime.NumGoroutine() <= before }, "goroutines back to where they were")
}

func TestScramWithARealServerSide(t *testing.T) {
	client, err := scram.SHA256.NewClient("", password, "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, nil, func(p *scripted) {
		p.packet()
		p.send(frame('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"))
		_, body := p.message()
		conv := server.NewConversation()
		reply, err := conv.Step(string(body[len("SCRAM-SHA-256")+5:]))
		if err != nil {
			t.Error(err)
		}
		p.send(frame('R', "\x00\x00\x00\x0b"+reply))
		_, body = p.message()
		if reply, err = conv.Step(string(body)); err != nil || !conv.Valid() {
			t.Error(err)
		}
		p.send(frame('R', "\x00\x00\x00\x0c"+reply) + authOK + readyIdle)
	})
	c := newPeer(t, r.Dial(t))
	c.startup()
	for _, want := range []byte("RZ") {
		if kind, _ := c.message(); kind != want {
			t.Fatalf("message %q, want %q", kind, want)
		}
	}
}
