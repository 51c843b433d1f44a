package postgres

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

func TestFarewell(t *testing.T) {
	for tail, want := range map[string]struct{ told, idle bool }{
		"":                               {true, false}, // the cancel key was the last
		"SELECT 1\x00Z\x00\x00\x00\x05I": {true, true},
		"Z\x00\x00\x00\x05T":             {true, false},
		"Z\x00\x00\x00\x05":              {false, false},
		"D\x00\x00\x00\x05I":             {false, false},
	} {
		message, idle := farewell([]byte(tail), fault.ErrShuttingDown(nil))
		if (message != nil) != want.told || idle != want.idle {
			t.Errorf("after %q: %q, idle %v", tail, message, idle)
		}
	}
}

// asking runs statements on an engine whose database follows script.
func asking(t *testing.T, database string, script func(*scripted), statements ...string) ([][]string, error) {
	t.Helper()
	var e *Engine
	newRig(t, func(made *Engine) { e = made; e.Role = "owner"; e.Databases = []string{"other"} }, script)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	rows, err := e.Query(ctx, proxytest.Credential(), database, statements...)
	if err != nil && strings.Contains(err.Error(), password) {
		t.Errorf("the password is in %q", err)
	}
	return rows, err
}

const (
	begun   = authOK + "S\x00\x00\x00\x08a\x00b\x00" + "K\x00\x00\x00\x0c\x00\x00\x00\x07abcd" + readyIdle
	columns = "T\x00\x00\x00\x06\x00\x02"
	done    = "C\x00\x00\x00\x0dSELECT 1\x00" + readyIdle
)

func TestQuery(t *testing.T) {
	ended := make(chan byte, 1)
	rows, err := asking(t, "orders", func(p *scripted) {
		s, err := wire.ParseStartup(p.packet())
		if want := []wire.Param{{Name: "user", Value: "app"}, {Name: "database", Value: "orders"}, {Name: "application_name", Value: "credproxy"}, {Name: "role", Value: "owner"}}; err != nil || !reflect.DeepEqual(s.Params, want) {
			t.Errorf("startup %v (%v), want %v", s.Params, err, want)
		}
		p.send(begun)
		for _, want := range []string{"BEGIN", "SELECT 1, NULL"} {
			if kind, body := p.message(); kind != 'Q' || string(body) != want+"\x00" {
				t.Errorf("message %q %q, want the query %q", kind, body, want)
			}
			p.send(frame('N', "Mhello\x00\x00") + columns + frame('D', "\x00\x02\x00\x00\x00\x011\xff\xff\xff\xff") + done)
		}
		kind, _ := p.message()
		ended <- kind
	}, "BEGIN", "SELECT 1, NULL")
	if err != nil || !reflect.DeepEqual(rows, [][]string{{"1", ""}}) {
		t.Errorf("rows %q, error %v", rows, err)
	}
	if kind := <-ended; kind != 'X' {
		t.Errorf("the session ended with message %q, want Terminate", kind)
	}
}

func TestQueryFails(t *testing.T) {
	oneRow := frame('D', "\x00\x01\x00\x00\x00\x011")
	answer := func(s string) func(*scripted) {
		return func(p *scripted) { p.packet(); p.send(begun); p.message(); p.send(s); p.message() }
	}
	refusing := func(fields string) func(*scripted) {
		return func(p *scripted) { p.packet(); p.send(frame('E', fields)) }
	}
	tests := []struct {
		name     string
		script   func(*scripted)
		kind     fault.Kind
		sql      string // the code in a *fault.SQLError
		rejected bool
		message  string
	}{
		{"credential refused", func(p *scripted) { p.packet(); p.send(frame('E', "SFATAL\x00C28P01\x00Mwrong\x00\x00")) }, fault.CredentialRejected, "", true, "wrong"},
		{"refused by PAM", refusing("SFATAL\x00C28000\x00MPAM authentication failed for user \"app\"\x00Rauth_failed\x00\x00"), fault.CredentialRejected, "", true, "PAM"},
		{"wants a certificate", refusing("SFATAL\x00C28000\x00Mcertificate authentication failed for user \"app\"\x00Rauth_failed\x00\x00"), fault.UpstreamRefused, "", false, "certificate"},
		{"wants a ticket", refusing("SFATAL\x00C28000\x00MGSSAPI authentication failed for user \"app\"\x00Rauth_failed\x00\x00"), fault.UpstreamRefused, "", false, "GSSAPI"},
		{"no entry", refusing("SFATAL\x00C28000\x00Mno pg_hba.conf entry for host\x00RClientAuthentication\x00\x00"), fault.UpstreamRefused, "", false, "pg_hba.conf"},
		{"refused before the session begins", func(p *scripted) {
			p.packet()
			p.send(authOK + frame('E', "SFATAL\x00C3D000\x00Mno such database\x00\x00"))
		}, fault.UpstreamRefused, "3D000", false, "no such database"},
		{"statement refused", answer(frame('E', "SERROR\x00C42501\x00Mpermission denied\x00\x00") + readyIdle), fault.UpstreamRefused, "42501", false, "permission denied"},
		{"connection ended by the database", answer(frame('E', "SFATAL\x00C57P01\x00Mterminating\x00\x00")), fault.UpstreamRefused, "57P01", false, "terminating"},
		{"error that cannot be read", answer(frame('E', "SERROR") + readyIdle), fault.UpstreamBroken, "", false, "cannot be read"},
		{"breaks off", func(p *scripted) { p.packet(); p.send(begun); p.message(); p.send(columns) }, fault.UpstreamBroken, "", false, "waiting for the answer"},
		{"never answers", func(p *scripted) { p.packet(); p.send(begun); p.message(); p.message(); p.message() }, fault.Timeout, "", false, "waiting for the answer"},
		{"copy", answer(frame('H', "\x00\x00\x00")), fault.UpstreamBroken, "", false, "out of turn"},
		{"negative length", answer(columns + frame('D', "\x00\x01\xff\xff\xff\xfe")), fault.UpstreamBroken, "", false, "a row that cannot be read"},
		{"too many columns", answer(columns + frame('D', "\x00\x41"+strings.Repeat("\xff", 4*65))), fault.UpstreamBroken, "", false, "65 columns"},
		{"too many rows", answer(columns + strings.Repeat(oneRow, upstream.MaxRows+1)), fault.UpstreamBroken, "", false, "a longer answer"},
		{"too many bytes", answer(columns + strings.Repeat(frame('D', "\x00\x01\x00\x03\x00\x00"+strings.Repeat("x", 3<<16)), 6)), fault.UpstreamBroken, "", false, "a longer answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rows, err := asking(t, "", tt.script, "SELECT 1")
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
	got := make(chan byte, 1)
	newRig(t, func(made *Engine) { e = made }, func(p *scripted) {
		p.packet()
		proxytest.Refuse(cred)
		p.send(frame('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"))
		b := make([]byte, 1)
		_, _ = p.Read(b)
		got <- b[0]
	})
	began := time.Now()
	_, err := e.Query(t.Context(), cred, "", "SELECT 1")
	if overtaken := cred.RejectedSince(began); overtaken == nil || !errors.Is(err, overtaken) {
		t.Errorf("the login ends with %v, want %v", err, overtaken)
	}
	if b := <-got; b != 0 {
		t.Errorf("the database was sent a message %q", b)
	}
}
