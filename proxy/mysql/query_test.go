package mysql

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// asking runs statements on an engine whose database follows script.
func asking(t *testing.T, script func(*scripted), statements ...string) ([][]string, error) {
	t.Helper()
	var e *Engine
	newRig(t, func(made *Engine) { e = made; e.Database = "orders"; e.Databases = []string{"other"} }, script)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	rows, err := e.Query(ctx, proxytest.Credential(), "", statements...)
	if err != nil && strings.Contains(err.Error(), password) {
		t.Errorf("the password is in %q", err)
	}
	return rows, err
}

// command reads the first packet of a command.
func (p *scripted) command() string {
	p.Seq = 0
	return p.payload()
}

const eofPacket = "\xfe\x00\x00\x02\x00"

func (p *scripted) sendAll(payloads ...string) {
	for _, s := range payloads {
		p.send(s)
	}
}

func TestQuery(t *testing.T) {
	ended := make(chan string, 1)
	rows, err := asking(t, func(p *scripted) {
		r := p.greet(realGreeting())
		if r.User != "app" || r.Database != "orders" || string(r.Attributes) != "\x0cprogram_name\x09credproxy" ||
			r.Capabilities&(mysql.CLIENT_MULTI_STATEMENTS|mysql.CLIENT_LOCAL_FILES|mysql.CLIENT_DEPRECATE_EOF) != 0 {
			t.Errorf("the database got %+v", r)
		}
		p.send(okPacket)
		for range 2 {
			if got := p.command(); got != "\x03SET x = 1" {
				t.Errorf("command %q", got)
			}
			p.send(okPacket)
		}
		if got := p.command(); got != "\x03SELECT 1, NULL" {
			t.Errorf("command %q", got)
		}
		p.sendAll("\x02", "definition", "definition", eofPacket, "\x011\xfb", eofPacket)
		ended <- p.command()
	}, "SET x = 1", "SET x = 1", "SELECT 1, NULL")
	if err != nil || !reflect.DeepEqual(rows, [][]string{{"1", ""}}) {
		t.Errorf("rows %q, error %v", rows, err)
	}
	if got := <-ended; got != "\x01" {
		t.Errorf("the session ended with command %q, want COM_QUIT", got)
	}
}

func TestQueryFails(t *testing.T) {
	answer := func(payloads ...string) func(*scripted) {
		return func(p *scripted) {
			p.greet(realGreeting())
			p.send(okPacket)
			p.command()
			p.sendAll(payloads...)
			p.command()
		}
	}
	rowsOf := func(row string, n int) []string {
		all := []string{"\x01", "definition", eofPacket}
		for range n {
			all = append(all, row)
		}
		return all
	}
	tests := []struct {
		name     string
		script   func(*scripted)
		kind     fault.Kind
		sql      string // the code in a *fault.SQLError
		rejected bool
		message  string
	}{
		{"credential refused", func(p *scripted) { p.greet(realGreeting()); p.send("\xff\x15\x04#28000Access denied") }, fault.CredentialRejected, "", true, "Access denied"},
		{"database refused", func(p *scripted) { p.greet(realGreeting()); p.send("\xff\x19\x04#42000Unknown database") }, fault.UpstreamRefused, "1049", false, "Unknown database"},
		{"statement refused", answer("\xff\x76\x04#42000SELECT command denied"), fault.UpstreamRefused, "1142", false, "SELECT command denied"},
		{"refused amid rows", answer("\x01", "definition", eofPacket, "\xff\x25\x05#70100interrupted"), fault.UpstreamRefused, "1317", false, "interrupted"},
		{"error that cannot be read", answer("\xff\x76"), fault.UpstreamBroken, "", false, "cannot be read"},
		{"breaks off", func(p *scripted) { p.greet(realGreeting()); p.send(okPacket); p.command() }, fault.UpstreamBroken, "", false, "waiting for the answer"},
		{"never answers", func(p *scripted) { p.greet(realGreeting()); p.send(okPacket); p.command(); p.command() }, fault.Timeout, "", false, "waiting for the answer"},
		{"wants a file", answer("\xfb/etc/passwd"), fault.UpstreamBroken, "", false, "no result"},
		{"too many columns", answer("\x41"), fault.UpstreamBroken, "", false, "no result"},
		{"truncated row", answer(rowsOf("\x05abc", 1)...), fault.UpstreamBroken, "", false, "a row that cannot be read"},
		{"row too long", answer(rowsOf("\x011\x011", 1)...), fault.UpstreamBroken, "", false, "a row that cannot be read"},
		{"too many rows", answer(rowsOf("\x011", upstream.MaxRows+1)...), fault.UpstreamBroken, "", false, "a longer answer"},
		{"too many bytes", answer(rowsOf("\xfd\x00\x00\x01"+strings.Repeat("x", 1<<16), 18)...), fault.UpstreamBroken, "", false, "a longer answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rows, err := asking(t, tt.script, "SELECT 1")
			said, isSQL := errors.AsType[*fault.SQLError](err)
			if rows != nil || err == nil || fault.As(err).Kind != tt.kind || secrets.IsRejected(err) != tt.rejected ||
				isSQL != (tt.sql != "") || isSQL && said.Code != tt.sql || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("rows %q, error %v of kind %s", rows, err, fault.As(err).Kind)
			}
		})
	}
}

// TestNothingIsOfferedOnceRefused has the database refuse the credential elsewhere
// while a login with it is under way.
func TestNothingIsOfferedOnceRefused(t *testing.T) {
	cred := proxytest.Credential()
	var e *Engine
	got := make(chan wire.HandshakeResponse, 1)
	newRig(t, func(made *Engine) { e = made }, func(p *scripted) {
		proxytest.Refuse(cred)
		got <- p.greet(realGreeting())
		p.send("\xff\x15\x04#28000Access denied")
	})
	began := time.Now()
	_, err := e.Query(t.Context(), cred, "", "SELECT 1")
	if overtaken := cred.RejectedSince(began); overtaken == nil || !errors.Is(err, overtaken) {
		t.Errorf("the login ends with %v, want %v", err, overtaken)
	}
	if r := <-got; r.User != "credproxy-nobody" || len(r.Auth) > 0 {
		t.Errorf("user %q was offered with %q", r.User, r.Auth)
	}
}
