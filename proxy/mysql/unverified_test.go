package mysql

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/proxy/relay"
)

// hostile is a server in the place of the database: it asks for the credential by one of
// the methods and remembers what it gets.
type hostile struct {
	cert tls.Certificate
	key  *rsa.PrivateKey
	got  chan string // what was sent after the question; "" for nothing
}

// run greets, in TLS if the client asks for it, and asks. A method that needs a key names
// its own.
func (h *hostile) run(p *scripted, ask func(h *hostile, p *scripted)) {
	defer close(h.got)
	g := realGreeting()
	g.Capabilities |= mysql.CLIENT_SSL
	_ = p.WritePacket(g.Encode())
	first := p.payload()
	if len(first) == 32 { // the request for TLS
		tc := tls.Server(relay.NewRecordConn(p.Conn, p.ReadAhead()), &tls.Config{Certificates: []tls.Certificate{h.cert}})
		if tc.Handshake() != nil {
			return
		}
		p.PacketConn = p.Over(tc)
		p.payload()
	}
	ask(h, p)
	p.send("\xff\x15\x04#28000Access denied")
	_, _ = io.Copy(io.Discard, p.R)
}

// named answers a request for the key of the server, and tells what comes of it.
func (h *hostile) named(p *scripted) {
	request := p.payload()
	if len(request) != 1 { // no request: the credential itself, or nothing
		h.got <- request
		return
	}
	der, _ := x509.MarshalPKIXPublicKey(h.key.Public()) // cannot fail: it is RSA
	p.send("\x01" + string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	h.got <- p.payload()
}

var questions = map[string]func(h *hostile, p *scripted){
	"clear text": func(h *hostile, p *scripted) {
		p.send("\xfe" + mysql.AUTH_CLEAR_PASSWORD + "\x00")
		h.got <- p.payload()
	},
	"sha256": func(h *hostile, p *scripted) {
		p.send("\xfe" + mysql.AUTH_SHA256_PASSWORD + "\x00abcdefghijklmnopqrst\x00")
		h.named(p)
	},
	"caching_sha2 in full": func(h *hostile, p *scripted) {
		p.send("\x01\x04")
		h.named(p)
	},
	"native": func(h *hostile, p *scripted) {
		p.send("\xfe" + mysql.AUTH_NATIVE_PASSWORD + "\x00abcdefghijklmnopqrst\x00")
		h.got <- p.payload()
	},
	"ed25519": func(h *hostile, p *scripted) {
		p.send("\xfe" + mysql.AUTH_MARIADB_ED25519 + "\x00" + strings.Repeat("s", 32))
		h.got <- p.payload()
	},
}

// TestHostileServerGetsNoPassword puts a server that is not the database at the other end
// of a link that nobody has verified, and has it ask in every way. Only a password goes
// out, and only as a scramble, or where the configuration allows it in as many words.
func TestHostileServerGetsNoPassword(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	cert := nettest.Certificate(t, "db.example")
	for question, ask := range questions {
		for _, mode := range []config.TLSMode{config.Require, config.Disable} {
			for _, token := range []bool{false, true} {
				for _, allowed := range []bool{false, true} {
					name := strings.Join([]string{question, string(mode), map[bool]string{true: "token", false: "password"}[token], map[bool]string{true: "allowed", false: ""}[allowed]}, "/")
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						h := &hostile{cert: cert, key: key, got: make(chan string, 1)}
						cred := proxytest.Credential()
						if token {
							cred.Expires = time.Now().Add(time.Hour)
						}
						r := newRig(t, func(e *Engine) {
							e.Credentials, e.Upstream.Mode, e.Upstream.AllowUnverifiedPassword = offering(cred), mode, allowed
						}, func(p *scripted) { h.run(p, ask) })
						c := newPeer(t, r.Dial(t))
						_, reply := c.login(passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD))
						said := wantError(t, c, reply).Message
						scramble := question == "native" || question == "ed25519"
						goesOut := !token && (scramble || allowed && question != "clear text")
						if refused := strings.Contains(said, "was not sent"); refused == goesOut {
							t.Errorf("the client is told %q", said)
						}
						if token { // it may have been refused before the question
							if got := <-h.got; got != "" {
								t.Errorf("the server got %q", got)
							}
							return
						}
						got := <-h.got
						if (got != "") != goesOut {
							t.Errorf("the server got %q", got)
						}
						if !allowed && strings.Contains(got, password) {
							t.Errorf("the server got the password in %q", got)
						}
					})
				}
			}
		}
	}
}
