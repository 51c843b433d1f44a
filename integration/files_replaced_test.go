package integration_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// shown returns the certificate that a listener of PostgreSQL shows.
func shown(t *testing.T, addr string) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil { // SSLRequest
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	tc := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	return tc.ConnectionState().PeerCertificates[0].Raw
}

// TestFilesReplaced renews the listener's certificate and the database's CA at their paths,
// with a signal and without. New connections use the new ones, a bad one changes nothing,
// and the session, the credential and the listener stay.
func TestFilesReplaced(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	authority, err := pki.NewCA("listener authority")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ca := filepath.Join(dir, "database-ca.pem")
	write := func(path string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good, err := os.ReadFile(pg.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	write(ca, good)
	var cert, key string
	renew := func() (der []byte) {
		t.Helper()
		c, err := authority.Issue(pki.Localhost())
		if err == nil {
			cert, key, err = c.Write(dir, "listener")
		}
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Certificate[0]
	}
	first := renew()
	path := filepath.Join(dir, "credproxy.yaml")
	write(path, []byte("databases:\n"+smDatabase("main", arn, "tls: "+tlsYAML("", ca), fmt.Sprintf("client_tls: {cert_file: %q, key_file: %q}", cert, key))))
	w := watch(t, sidecar.Options{Args: []string{"-c", path}, Env: aws.Env()}, appPassword)
	addr := w.Addr(t, "main")
	session := connect(t, addr, "postgres")
	if !bytes.Equal(shown(t, addr), first) {
		t.Error("not the first certificate")
	}
	calls := aws.Calls("GetSecretValue")

	second := renew()
	sidecar.Await(t, "the change to be noticed", func() bool { return bytes.Equal(shown(t, addr), second) })

	write(cert, []byte("-----BEGIN CERTIFICATE-----\ngarbage"))
	w.Signal(syscall.SIGHUP)
	sidecar.Await(t, "the bad one to be refused", func() bool { return reloads(t, w.Proxy, "refused") > 0 })
	w.AwaitLog(t, "client_tls.cert_file")
	if _, body, err := w.Get("/status"); err != nil || !strings.Contains(body, `"ok": false`) {
		t.Errorf("the status does not tell: %v %s", err, body)
	}
	if !bytes.Equal(shown(t, addr), second) {
		t.Error("the certificate before is not in use any more")
	}
	third := renew()
	w.Signal(syscall.SIGHUP)
	sidecar.Await(t, "the third certificate", func() bool { return bytes.Equal(shown(t, addr), third) })

	write(ca, authority.PEM)
	w.Signal(syscall.SIGHUP)
	sidecar.Await(t, "the database to be trusted no more", func() bool { return w.logIn(t.Context(), addr, "postgres") != nil })
	w.failure(t, "main", `"result":"upstream_tls"`)
	if got := ask(t, session, "SELECT 1"); got != "1" {
		t.Errorf("the session answers %s", got)
	}
	write(ca, good)
	w.Signal(syscall.SIGHUP)
	w.recovers(t, "main", "postgres")
	if got := ask(t, session, "SELECT 1"); got != "1" {
		t.Errorf("the session answers %s", got)
	}
	if n := aws.Calls("GetSecretValue"); n != calls {
		t.Errorf("the secret was read %d times more", n-calls)
	}
	if n := strings.Count(w.Log(), `"msg":"listening"`); n != 1 {
		t.Errorf("%d databases were built", n)
	}
}

// TestClientCAReplaced has clients resume TLS sessions that began under an authority that
// is trusted no more.
func TestClientCAReplaced(t *testing.T) {
	aws := startAWS(t, awsstub.Options{})
	dir := t.TempDir()
	issue := func(ca *pki.CA, l pki.Leaf, name string) (cert, key string) {
		t.Helper()
		c, err := ca.Issue(l)
		if err == nil {
			cert, key, err = c.Write(dir, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	before, err := pki.NewCA("before")
	if err != nil {
		t.Fatal(err)
	}
	after, err := pki.NewCA("after")
	if err != nil {
		t.Fatal(err)
	}
	cert, key := issue(before, pki.Localhost(), "listener")
	clientCA, err := before.Write(dir, "clients")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "credproxy.yaml")
	yaml := "databases:\n" + smDatabase("main", "prod/none", "host: localhost", fmt.Sprintf("client_tls: {cert_file: %q, key_file: %q, client_ca_file: %q}", cert, key, clientCA))
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	w := watch(t, sidecar.Options{Args: []string{"-c", path}, Env: aws.Env()}, appPassword)
	addr := w.Addr(t, "main")
	clientCert, clientKey := issue(before, pki.Leaf{Names: []string{"client"}, Client: true}, "client")
	pair, err := tls.LoadX509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(before.PEM)
	cfg := &tls.Config{
		RootCAs: roots, ServerName: "localhost", NextProtos: []string{"postgresql"},
		Certificates: []tls.Certificate{pair}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	visit := func() (resumed bool, err error) {
		conn, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			return false, err
		}
		defer conn.Close()
		_, err = conn.Write([]byte{0, 0, 0, 9, 0, 3, 0, 0, 0}) // a startup packet without a user
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // and with the answer come the tickets
		}
		return conn.ConnectionState().DidResume, err
	}
	if _, err := visit(); err != nil {
		t.Fatal(err)
	}
	if resumed, err := visit(); err != nil || !resumed {
		t.Fatalf("resumed: %v, %v", resumed, err)
	}
	if _, err := after.Write(dir, "clients"); err != nil {
		t.Fatal(err)
	}
	w.Signal(syscall.SIGHUP)
	w.AwaitLog(t, "certificates renewed")
	if resumed, err := visit(); err == nil {
		t.Errorf("a client of the authority before gets in, resumed: %v", resumed)
	}
}
