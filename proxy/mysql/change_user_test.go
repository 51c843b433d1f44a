package mysql

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/secrets"
)

// logIn logs a client in.
func (p *scripted) logIn() {
	p.t.Helper()
	_, reply := p.login(passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD))
	if reply != okPacket {
		p.t.Fatalf("reply %q", reply)
	}
}

// changeUser has a client change the user and returns what it hears.
func (p *scripted) changeUser() string {
	p.Seq = 0
	payload := string((&wire.ChangeUser{User: "me", Charset: [2]byte{45}}).Encode(0))
	p.send(strings.Replace(payload, wire.NoPlugin, mysql.AUTH_CACHING_SHA2_PASSWORD, 1))
	if got := p.payload(); !strings.HasPrefix(got, "\xfe") {
		return got
	}
	p.send("")
	return p.payload()
}

// TestChangeUserBehindALongStatement has a client change the user on a connection whose
// server does not answer, when no login was accepted lately. Others are logged in
// meanwhile.
func TestChangeUserBehindALongStatement(t *testing.T) {
	t.Parallel()
	cache := secrets.New(&moving{}, secrets.Options{LoginTimeout: 3 * time.Second})
	defer cache.Close()
	var logins atomic.Int64
	busy, given := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(e *Engine) { e.Credentials = cache }, func(p *scripted) {
		got := p.greet(realGreeting())
		first := logins.Add(1) == 1
		p.send(okPacket)
		if !first || got.User != "app" {
			p.payload()
			return
		}
		p.Seq = 0
		if p.payload() != "" { // COM_CHANGE_USER
			close(busy)
			p.payload()
			close(given)
		}
	})
	slow := newPeer(t, r.Dial(t))
	slow.logIn()
	time.Sleep(1100 * time.Millisecond) // a credential is trusted for a second
	heard := make(chan string, 1)
	go func() { heard <- slow.changeUser() }()
	<-busy
	other := newPeer(t, r.Dial(t))
	other.logIn()
	select {
	case <-given:
		t.Error("the other client had to wait until the first one was given up")
	default:
	}
	_ = slow.Close()
	<-heard
}

// TestChangeUserRefusedOnTheSessionsConnection has the database refuse the credential, or
// its user, on the connection of a session. That is no verdict: a new connection tells.
func TestChangeUserRefusedOnTheSessionsConnection(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]string{
		"credential": "\xff\x15\x04#28000Access denied",
		"user":       "\xff\x2e\x0c#HY000Account locked",
	} {
		t.Run(name, func(t *testing.T) {
			src := &numbered{}
			cache := secrets.New(src, secrets.Options{LoginTimeout: 3 * time.Second})
			defer cache.Close()
			var sessions atomic.Int64
			r := newRig(t, func(e *Engine) { e.Credentials = cache }, func(p *scripted) {
				p.greet(realGreeting())
				if sessions.Add(1) == 1 {
					p.send(okPacket)
					p.Seq = 0
					p.payload()
					p.send(refusal)
					return
				}
				p.send(okPacket + "new")
				p.payload()
			})
			c := newPeer(t, r.Dial(t))
			c.logIn()
			src.version.Store(1) // another user's, for whom nothing but a refusal has credproxy look
			if got := c.changeUser(); got != okPacket+"new" {
				t.Errorf("change user: %q", got)
			}
			if s := cache.Status(); s.Refused {
				t.Errorf("a verdict was filed: %+v", s)
			}
		})
	}
}

// numbered is a secret whose user is the number of its version.
type numbered struct{ version atomic.Int64 }

func (*numbered) Kind() string { return "test" }

func (s *numbered) Fetch(_ context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	if stage != secrets.Current {
		return nil, secrets.Errorf(secrets.NoVersion, "nothing is labelled %s", stage)
	}
	c := secrets.NewCredential("app"+strings.Repeat("x", int(s.version.Load())), password)
	c.UseLocalVersion()
	return c, nil
}

// TestChangeUserWhileNobodyGetsIn has the database take no new connection, and be content
// with those that are there.
func TestChangeUserWhileNobodyGetsIn(t *testing.T) {
	t.Parallel()
	cache := secrets.New(&moving{}, secrets.Options{LoginTimeout: 3 * time.Second})
	defer cache.Close()
	var sessions atomic.Int64
	r := newRig(t, func(e *Engine) { e.Credentials = cache }, func(p *scripted) {
		if sessions.Add(1) > 1 {
			p.send("\xff\x10\x04Too many connections")
			return
		}
		p.greet(realGreeting())
		p.send(okPacket)
		p.Seq = 0
		p.payload()
		p.send(okPacket + "changed")
		p.payload()
	})
	c := newPeer(t, r.Dial(t))
	c.logIn()
	time.Sleep(1100 * time.Millisecond) // a credential is trusted for a second
	if got := c.changeUser(); got != okPacket+"changed" {
		t.Errorf("change user: %q", got)
	}
	if sessions.Load() != 2 {
		t.Error("nobody tried to prove the credential")
	}
}
