package integration_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// How a login in the matrix may end. Any end but the first two is an error of
// credproxy that holds these words, before it has sent who logs in.
const (
	encrypted = "encrypted"
	inClear   = "in clear"
	unknownCA = "signed by an authority that credproxy does not know"
	expired   = "has expired"
	wrongName = `is not for the name "localhost"`
	noTLS     = "does not offer TLS; nothing was sent"
	noEntry   = "no pg_hba.conf entry" // the database's own word, to a login in clear
)

// tlsMatrix is every tls.mode with every authority that it may be given, and
// what becomes of a login at a server with a good certificate, with one that
// has expired, with one for another host, and without TLS.
var tlsMatrix = []struct {
	mode, ca                      string
	good, outdated, foreign, noSL string
}{
	{"verify-full", "right", encrypted, expired, wrongName, noTLS},
	{"verify-full", "wrong", unknownCA, expired, wrongName, noTLS},
	{"verify-full", "none", unknownCA, expired, wrongName, noTLS}, // the RDS bundle and the system's roots
	{"", "right", encrypted, expired, wrongName, noTLS},           // the default is verify-full
	{"verify-ca", "right", encrypted, expired, encrypted, noTLS},
	{"verify-ca", "wrong", unknownCA, expired, unknownCA, noTLS},
	{"require", "none", encrypted, encrypted, encrypted, noTLS},
	{"disable", "none", noEntry, noEntry, noEntry, inClear},
}

// TestTLSMatrix shows that exactly the right links come about, and none in clear
// unless the configuration says so.
func TestTLSMatrix(t *testing.T) {
	ca, dir := newCA(t), t.TempDir()
	cas := map[string]string{"right": caFile(t, dir, "right", ca), "wrong": caFile(t, dir, "wrong", newCA(t)), "none": ""}
	var pgs [4]*servers.Postgres // in the order of the matrix
	for i, leaf := range []pki.Leaf{pki.Localhost(), pki.Expired(), pki.WrongHost(), {}} {
		o := servers.PostgresOptions{Version: 15, NoTLS: i == 3}
		if !o.NoTLS {
			o.Certificate = issue(t, ca, leaf)
		}
		pgs[i] = newPostgres(t, o)
	}
	aws := startAWS(t, awsstub.Options{})
	config := "databases:\n"
	for row, r := range tlsMatrix {
		for i, pg := range pgs {
			arn := aws.CreateSecret(cell(row, i), secretJSON(pg, "app", appPassword))
			config += smDatabase(cell(row, i), arn, "tls: "+tlsYAML(r.mode, cas[r.ca]))
		}
	}
	w := watch(t, sidecar.Options{Config: config, Env: aws.Env()}, appPassword)
	for row, r := range tlsMatrix {
		for i, want := range []string{r.good, r.outdated, r.foreign, r.noSL} {
			t.Run(fmt.Sprintf("%s/ca=%s/server%d", r.mode, r.ca, i), func(t *testing.T) { w.tlsCell(t, cell(row, i), want) })
		}
	}
	for i, pg := range pgs {
		var want int // logins that came to a decision about the user: the client's, and one of credproxy's own
		for row, r := range tlsMatrix {
			if end := []string{r.good, r.outdated, r.foreign, r.noSL}[i]; end == encrypted || end == inClear {
				want += 2
				proved(t, w.Proxy, cell(row, i))
			}
		}
		if got := strings.Count(pg.Log(), "connection authorized: user=app"); got != want {
			t.Errorf("server %d logged in %d sessions, want %d", i, got, want)
		}
		if !strings.Contains(pg.Log(), "SSL enabled") != (i == 3) {
			t.Errorf("server %d: log of the wrong kind of sessions", i)
		}
	}
}

func cell(row, server int) string { return fmt.Sprintf("row%d-server%d", row, server) }

func (w *watched) tlsCell(t *testing.T, name, want string) {
	switch want {
	case encrypted, inClear:
		conn := connect(t, w.Addr(t, name), "postgres")
		if ssl := ask(t, conn, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); ssl != fmt.Sprint(want == encrypted) {
			t.Errorf("the server sees ssl %s, want %s", ssl, want)
		}
	case noEntry:
		if e := w.refused(t, name, "postgres"); e.Code != "28000" || !strings.Contains(e.Message, noEntry) || !strings.Contains(e.Message, "no encryption") {
			t.Errorf("client is told %v, want the server's word: %s", e, want)
		}
	default:
		w.ours(t, w.refused(t, name, "postgres"), "57P03", want)
		w.failure(t, name, `"result":"upstream_tls"`, "hint")
	}
}

// TestTLSOptions shows a name in the certificate that is not the host's, and a
// server that wants a certificate from credproxy.
func TestTLSOptions(t *testing.T) {
	ca, clientCA, dir := newCA(t), newCA(t), t.TempDir()
	pg := newPostgres(t, servers.PostgresOptions{Version: 18, CA: ca, Certificate: issue(t, ca, pki.WrongHost()), ClientCA: clientCA})
	cert, key, err := issue(t, clientCA, pki.Leaf{Names: []string{"credproxy"}, Client: true}).Write(dir, "client")
	if err != nil {
		t.Fatal(err)
	}
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	link := fmt.Sprintf("ca_file: %q, server_name: elsewhere.test", pg.CAFile)
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
		smDatabase("named", arn, "tls: {"+link+"}") +
		smDatabase("known", arn, fmt.Sprintf("tls: {%s, client_cert_file: %q, client_key_file: %q}", link, cert, key)),
	}, appPassword)
	if e := w.refused(t, "named", "postgres"); e.Code != "28000" || !strings.Contains(e.Message, "valid client certificate") {
		t.Errorf("client is told %v, want the server's demand for a certificate", e)
	}
	conn := connect(t, w.Addr(t, "known"), "postgres")
	if got := ask(t, conn, "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != "/CN=credproxy" {
		t.Errorf("the server knows credproxy as %s", got)
	}
}

// TestCleartextPassword shows that a server which asks for the password as it is
// gets it only over verified TLS. Over any other link it gets nothing.
func TestCleartextPassword(t *testing.T) {
	ca := newCA(t)
	safe := newPostgres(t, servers.PostgresOptions{Version: 15, Auth: "password", CA: ca, Certificate: issue(t, ca, pki.Localhost())})
	open := newPostgres(t, servers.PostgresOptions{Version: 15, Auth: "password", NoTLS: true})
	wire := startTap(t, listenLocal(t), open.Addr())
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/safe", secretJSON(safe, "app", appPassword))
	openARN := aws.CreateSecret("prod/open", secretJSON(open, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
		smDatabase("verified", arn, "tls: "+tlsYAML("verify-full", safe.CAFile)) +
		smDatabase("verified-ca", arn, "tls: "+tlsYAML("verify-ca", safe.CAFile)) +
		smDatabase("encrypted", arn, "tls: "+tlsYAML("require", "")) +
		smDatabase("clear", openARN, "tls: "+tlsYAML("disable", ""), "host: 127.0.0.1", fmt.Sprintf("port: %d", wire.port())),
	}, appPassword)
	for _, name := range []string{"encrypted", "clear"} {
		w.ours(t, w.refused(t, name, "postgres"), "28000", "the password was not sent")
		w.failure(t, name, `"result":"upstream_auth"`, "tls.mode")
	}
	if sent := wire.sent(); !bytes.Contains(sent, []byte("app")) || bytes.Contains(sent, []byte(appPassword)) {
		t.Errorf("credproxy sent %q, want its user and no password", sent)
	}
	verified := []string{"verified", "verified-ca"}
	proved(t, w.Proxy, verified...)
	// The password is right: had it been sent, the server would have let app in, as it
	// did where credproxy itself has logged in.
	for pg, want := range map[*servers.Postgres]int{safe: len(verified), open: 0} {
		if n := strings.Count(pg.Log(), "connection authorized: user=app"); n != want {
			t.Errorf("the server on port %d got the password %d times, want %d", pg.Port, n, want)
		}
	}
	for _, name := range verified {
		if err := w.logIn(t.Context(), w.Addr(t, name), "postgres"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoTLSNothingSent shows on the wire that a server without TLS hears only
// the question for it, and with tls.mode disable never the password itself.
func TestNoTLSNothingSent(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15, NoTLS: true})
	strict, open := startTap(t, listenLocal(t), pg.Addr()), startTap(t, listenLocal(t), pg.Addr())
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
		smDatabase("strict", arn, "tls: "+tlsYAML("require", ""), fmt.Sprintf("port: %d", strict.port())) +
		smDatabase("open", arn, "tls: "+tlsYAML("disable", ""), fmt.Sprintf("port: %d", open.port())),
	}, appPassword)
	w.ours(t, w.refused(t, "strict", "postgres"), "57P03", noTLS)
	request := []byte{0, 0, 0, 8, 4, 210, 22, 47}
	if sent := strict.sent(); !bytes.HasPrefix(sent, request) || len(bytes.ReplaceAll(sent, request, nil)) > 0 {
		t.Errorf("credproxy sent %q, want an SSLRequest alone on each connection", sent)
	}
	if err := w.logIn(t.Context(), w.Addr(t, "open"), "postgres"); err != nil {
		t.Error(err)
	}
	if sent := open.sent(); !bytes.Contains(sent, []byte("SCRAM-SHA-256")) || bytes.Contains(sent, []byte(appPassword)) {
		t.Errorf("credproxy sent %q, want SCRAM without the password", sent)
	}
}

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("test authority")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func caFile(t *testing.T, dir, name string, ca *pki.CA) string {
	t.Helper()
	file, err := ca.Write(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func issue(t *testing.T, ca *pki.CA, leaf pki.Leaf) *pki.Certificate {
	t.Helper()
	cert, err := ca.Issue(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
