package postgres

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/secrets"
)

// fixed offers one credential to every login.
type fixed struct{ *secrets.Credential }

func (f fixed) Login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error {
	return try(ctx, f.Credential)
}

// TestHostileServerGetsNoPassword puts a server that is not the database at the other end
// of a link that nobody has verified, and has it ask in every way. A password goes out as
// the beginning of SCRAM alone, and a token not at all.
func TestHostileServerGetsNoPassword(t *testing.T) {
	cert := nettest.Certificate(t, "db.example")
	for method, question := range map[string]string{
		"clear text": askClear,
		"md5":        frame('R', "\x00\x00\x00\x05salt"),
		"scram":      frame('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"),
	} {
		for _, mode := range []config.TLSMode{config.Require, config.Disable} {
			for _, kind := range []secrets.CredentialKind{secrets.Password, secrets.Token} {
				t.Run(strings.Join([]string{method, string(mode), kind.String()}, "/"), func(t *testing.T) {
					t.Parallel()
					cred := proxytest.Credential()
					if kind == secrets.Token {
						cred.Expires = time.Now().Add(time.Hour)
					}
					got := make(chan string, 1)
					r := newRig(t, func(e *Engine) { e.Credentials, e.Upstream.Mode = fixed{cred}, mode }, func(p *scripted) {
						defer close(got)
						if mode == config.Require {
							p.packet() // the request for TLS
							p.send("S")
							p = newPeer(t, tls.Server(p.Conn, &tls.Config{Certificates: []tls.Certificate{cert}}))
						}
						p.packet()
						p.send(question)
						_, answer := p.message()
						got <- string(answer)
					})
					c := newPeer(t, r.Dial(t))
					c.startup()
					said := c.fatal().Message
					goesOut := kind == secrets.Password && method == "scram"
					if answer := <-got; (answer != "") != goesOut || strings.Contains(answer, password) {
						t.Errorf("the server got %q", answer)
					}
					if refused := strings.Contains(said, "was not sent"); refused == goesOut {
						t.Errorf("the client is told %q", said)
					}
				})
			}
		}
	}
}
