package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// mySQLTLS is the end of a login, by tls.mode and the server's certificate; the
// whole matrix is PostgreSQL's, whose links are made by the same code.
var mySQLTLS = []struct {
	mode, ca string
	ends     [4]string // good, outdated, foreign, none
}{
	{"verify-full", "right", [4]string{encrypted, expired, wrongName, noTLS}},
	{"verify-full", "wrong", [4]string{unknownCA, expired, wrongName, noTLS}},
	{"verify-ca", "right", [4]string{encrypted, expired, encrypted, noTLS}},
	{"require", "none", [4]string{encrypted, encrypted, encrypted, noTLS}},
}

// TestMySQLTLS shows that no link falls back to less than the configuration
// demands, and that a database which is not the right one hears neither user nor
// password: no more than the request for TLS.
func TestMySQLTLS(t *testing.T) {
	ca, dir := newCA(t), t.TempDir()
	cas := map[string]string{"right": caFile(t, dir, "right", ca), "wrong": caFile(t, dir, "wrong", newCA(t)), "none": ""}
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		aws := startAWS(t, awsstub.Options{})
		config, taps := "databases:\n", map[string]*tap{}
		for i, leaf := range []pki.Leaf{pki.Localhost(), pki.Expired(), pki.WrongHost(), {}} {
			o := servers.MySQLOptions{Flavor: flavor, NoTLS: i == 3}
			if !o.NoTLS {
				o.Certificate = issue(t, ca, leaf)
			}
			my := newMySQL(t, o)
			arn := aws.CreateSecret(fmt.Sprintf("server%d", i), mySQLSecret(my, "app", appPassword))
			for row, r := range mySQLTLS {
				name := cell(row, i)
				taps[name] = startTap(t, listenLocal(t), my.Addr())
				config += mySQLEntry(name, arn, fmt.Sprintf("port: %d", taps[name].port()), mySQLLink(r.mode, cas[r.ca]))
			}
		}
		w := watch(t, sidecar.Options{Config: config, Env: aws.Env()}, appPassword)
		for row, r := range mySQLTLS {
			for i, want := range r.ends {
				t.Run(fmt.Sprintf("%s/ca=%s/server%d", r.mode, r.ca, i), func(t *testing.T) {
					w.mySQLCell(t, cell(row, i), want, taps[cell(row, i)])
				})
			}
		}
	})
}

func (w *watched) mySQLCell(t *testing.T, name, want string, wire *tap) {
	if want == encrypted {
		if got := cipher(t, openMySQL(t, noPassword(w.Addr(t, name), ""))); got == "" {
			t.Error("the server sees no TLS")
		}
		return
	}
	mySQLOurs(t, w.mySQLRefused(t, name, ""), "2026 08S01", want)
	w.failure(t, name, `"result":"upstream_tls"`, "hint")
	const sslRequest = 4 + 32 // header, and the part of a login without user and password
	sent := wire.sent()
	if want == noTLS && len(sent) > 0 {
		t.Errorf("credproxy sent %q to a server without TLS", sent)
	}
	if want != noTLS && (len(sent) <= sslRequest || sent[sslRequest] != 0x16 || bytes.Contains(sent, []byte("app\x00"))) {
		t.Errorf("credproxy sent %q, want a request for TLS and a ClientHello", sent)
	}
}

// cipher is that of the link between credproxy and the server, as this sees it.
func cipher(t testing.TB, conn *sql.Conn) (value string) {
	t.Helper()
	var name string
	if err := conn.QueryRowContext(t.Context(), "SHOW STATUS LIKE 'Ssl_cipher'").Scan(&name, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// TestMySQLResumption shows that later logins resume the TLS session of the
// first, which saves both sides the costly part of the handshake. (MariaDB hands
// out no tickets.)
func TestMySQLResumption(t *testing.T) {
	s := newMySQLStand(t, servers.MySQLOptions{Flavor: "mysql"}, "")
	proved(t, s.proxy, "main") // by the first login, credproxy's own, which has nothing to resume
	for i, want := range []string{"1", "1"} {
		conn := s.conn(t, s.config())
		var name, reused string
		if err := conn.QueryRowContext(t.Context(), "SHOW SESSION STATUS LIKE 'Ssl_sessions_reused'").Scan(&name, &reused); err != nil || reused != want {
			t.Errorf("login %d: session reused %s, %v; want %s", i, reused, err, want)
		}
		_ = conn.Close()
	}
}

// TestMySQLClientTLS has clients ask credproxy for TLS, which it offers with
// client_tls, and demands together with a certificate with client_ca_file. Who
// may open the socket needs neither.
func TestMySQLClientTLS(t *testing.T) {
	files, dir := clientTLSFiles(t), t.TempDir()
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		my := newMySQL(t, servers.MySQLOptions{Flavor: flavor})
		aws := startAWS(t, awsstub.Options{})
		arn, link := aws.CreateSecret("prod/main", mySQLSecret(my, "app", appPassword)), "tls: "+tlsYAML("", my.CAFile)
		socket := filepath.Join(dir, flavor+".sock")
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + mySQLEntry("plain", arn, link) +
			mySQLEntry("offers", arn, link, files.server) + mySQLEntry("demands", arn, link, files.mutual) +
			fmt.Sprintf("  - {name: socket, listen: \"unix:%s\", credentials: {secrets_manager: {secret_id: %q}}, %s, %s}\n", socket, arn, link, files.mutual),
		}, appPassword)
		w.Addr(t, "plain")
		stranger, known := clientTLS(t, files, "", ""), clientTLS(t, files, files.cert, files.key)
		other := clientTLS(t, files, files.otherCert, files.otherKey)
		for _, tt := range []struct {
			name, database string
			tls            *tls.Config
			want           string // "" logs in; else in the error
			logged         string // by credproxy, if it is its refusal
		}{
			{"in clear where TLS is offered", "offers", nil, "", ""},
			{"TLS", "offers", stranger, "", ""},
			{"TLS with a certificate nobody asks for", "offers", known, "", ""},
			{"TLS that trusts another authority", "offers", &tls.Config{RootCAs: my.CA.Pool(), ServerName: "localhost"}, "unknown authority", "bad certificate"},
			{"TLS that is not offered", "plain", stranger, "TLS requested but server does not support TLS", ""},
			{"known", "demands", known, "", ""},
			{"no certificate", "demands", stranger, "connection", "client didn't provide a certificate"},
			{"certificate of a stranger", "demands", other, "connection", "certificate signed by unknown authority"},
			{"in clear where a certificate is demanded", "demands", nil, "1045 (28000): credproxy: this listener takes only TLS connections with a client certificate", "client certificate"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				c := noPassword(w.Addr(t, tt.database), "")
				c.TLS = tt.tls
				w.logsIn(t, c, tt.want)
				if tt.logged != "" {
					w.failure(t, tt.database, tt.logged)
				}
			})
		}
		t.Run("request for TLS and ClientHello at once", func(t *testing.T) {
			c := noPassword(w.Addr(t, "offers"), "")
			c.TLS = stranger
			c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				return &hasty{Conn: conn}, err
			}
			w.logsIn(t, c, "")
		})
		t.Run("socket", func(t *testing.T) {
			c := noPassword(socket, "")
			c.Net = "unix"
			w.logsIn(t, c, "")
		})
	})
}

func (w *watched) logsIn(t *testing.T, c *mysql.Config, want string) {
	t.Helper()
	if want == "" {
		conn := openMySQL(t, c)
		if got := text(t, conn, "SELECT CURRENT_USER()"); got != "app@%" || cipher(t, conn) == "" {
			t.Errorf("logged in as %s", got)
		}
		return
	}
	if err := w.heard(logInMySQL(t.Context(), c)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("client is told %v, want %s", err, want)
	}
}

// hasty sends the request for TLS together with what comes next, as the network
// may deliver them: clients do not wait for an answer to it.
type hasty struct {
	net.Conn
	held []byte
}

func (h *hasty) Write(b []byte) (int, error) {
	if len(b) == 36 {
		h.held = bytes.Clone(b)
		return len(b), nil
	}
	if _, err := h.Conn.Write(append(h.held, b...)); err != nil {
		return 0, err
	}
	h.held = nil
	return len(b), nil
}

// clientTLS trusts the listener and shows a certificate, if one is given.
func clientTLS(t *testing.T, files tlsFiles, cert, key string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(files.ca)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	c.RootCAs.AppendCertsFromPEM(pem)
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}
