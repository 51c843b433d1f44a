package integration_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
)

// signatures are ways to sign a certificate. The algorithm picks the hash that SCRAM
// binds a login to (RFC 5929, tls-server-end-point); Ed25519 names none.
var signatures = []struct {
	algorithm x509.SignatureAlgorithm
	key       func() (crypto.Signer, error)
	plus      bool
}{
	{x509.SHA256WithRSA, rsaKey, true}, // as on RDS
	{x509.SHA512WithRSA, rsaKey, true},
	{x509.SHA256WithRSAPSS, rsaKey, true},
	{x509.ECDSAWithSHA384, ecdsaKey, true},
	{x509.PureEd25519, ed25519Key, false},
}

func rsaKey() (crypto.Signer, error)   { return rsa.GenerateKey(rand.Reader, 2048) }
func ecdsaKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }
func ed25519Key() (crypto.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// selfSigned is a server's certificate for localhost, signed with its own key.
func selfSigned(t *testing.T, algorithm x509.SignatureAlgorithm, newKey func() (crypto.Signer, error)) *pki.Certificate {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, SignatureAlgorithm: algorithm,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &pki.Certificate{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

// Logins are bound to the server's certificate, whatever signed it: they fail
// through somebody in the middle who has another one, even in mode require,
// which does not look at certificates. Only where no binding is defined for the
// certificate is a login not bound.
func TestPostgresChannelBinding(t *testing.T) {
	for _, version := range servers.PostgresVersions() {
		for _, sig := range signatures {
			t.Run(fmt.Sprintf("server%d %v", version, sig.algorithm), func(t *testing.T) {
				t.Parallel()
				cert := selfSigned(t, sig.algorithm, sig.key)
				s := newPGServer(t, servers.PostgresOptions{Version: version, Certificate: cert})
				ca := filepath.Join(t.TempDir(), "ca.crt")
				if err := os.WriteFile(ca, cert.CertPEM, 0o600); err != nil {
					t.Fatal(err)
				}
				s.run(t, secretJSON(s.Postgres, "app", appPassword), "tls: "+tlsYAML("verify-full", ca))
				if got := ask(t, pgConnect(t, s.conninfo("sslmode=disable")), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != "true" {
					t.Errorf("ssl %s", got)
				}
				s.throughTheMiddle(t, sig.algorithm, sig.key, sig.plus)
			})
		}
	}
}

// throughTheMiddle logs in through somebody whose certificate is of the same
// kind but not the server's.
func (s *pgStand) throughTheMiddle(t *testing.T, algorithm x509.SignatureAlgorithm, key func() (crypto.Signer, error), plus bool) {
	t.Helper()
	middle := startMiddle(t, selfSigned(t, algorithm, key), s.Postgres.Addr())
	s.run(t, secretJSON(s.Postgres, "app", appPassword), "tls: {mode: require}", fmt.Sprintf("port: %d", middle.port))
	conn, err := pgx.Connect(t.Context(), s.conninfo("sslmode=disable"))
	if err == nil {
		_ = conn.Close(t.Context())
	}
	if plus && (!hasCode(err, "28000") || !strings.Contains(err.Error(), "channel binding")) || !plus && err != nil {
		t.Errorf("through the middle: %v", err)
	}
	if got := bytes.Contains(middle.heard(), []byte("SCRAM-SHA-256-PLUS\x00")); got != plus {
		t.Errorf("mechanism SCRAM-SHA-256-PLUS: %v", got)
	}
}

// middle decrypts what passes and keeps what came from credproxy.
type middle struct {
	port int

	mu  sync.Mutex
	buf bytes.Buffer
}

func startMiddle(t *testing.T, cert *pki.Certificate, target string) *middle {
	t.Helper()
	pair, err := cert.TLS()
	if err != nil {
		t.Fatal(err)
	}
	m := &middle{}
	addr := between(t, target, func(client, server net.Conn) {
		request := make([]byte, 8)
		if _, err := io.ReadFull(client, request); err != nil {
			return
		}
		_, _ = server.Write(request)
		_, _ = io.CopyN(client, server, 1)
		inner := tls.Server(client, &tls.Config{Certificates: []tls.Certificate{pair}})
		outer := tls.Client(server, &tls.Config{InsecureSkipVerify: true})
		splice(struct {
			io.Reader
			io.WriteCloser
		}{io.TeeReader(inner, m), inner}, outer)
	})
	_, port, _ := net.SplitHostPort(addr)
	_, _ = fmt.Sscan(port, &m.port)
	return m
}

func (m *middle) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.buf.Write(b)
}

func (m *middle) heard() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.buf.Bytes())
}
