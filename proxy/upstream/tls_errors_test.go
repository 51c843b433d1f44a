package upstream

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/nettest"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// issue makes a certificate for db.example as change says, signed by itself if there is no authority.
func (a *authority) issue(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "db.example"}, DNSNames: []string{"db.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	change(tmpl)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	c := new(authority).issue(t, func(c *x509.Certificate) {
		c.Subject, c.DNSNames, c.IsCA, c.BasicConstraintsValid = pkix.Name{CommonName: "authority"}, nil, true, true
	})
	return &authority{c.Leaf, c.PrivateKey.(crypto.Signer)}
}

// negativeSerial returns cert with the serial number -127, which crypto/x509 makes for nobody.
func (a *authority) negativeSerial(t *testing.T, cert tls.Certificate) tls.Certificate {
	t.Helper()
	tbs := bytes.Replace(cert.Leaf.RawTBSCertificate, []byte{2, 1, 2, 2, 1, 1}, []byte{2, 1, 2, 2, 1, 0x81}, 1) // after version 3
	if bytes.Equal(tbs, cert.Leaf.RawTBSCertificate) {
		t.Fatal("no serial number found")
	}
	hash := sha256.Sum256(tbs)
	signature, err := a.key.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}, // ecdsa-with-SHA256
		asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: cert.PrivateKey}
}

// TestHandshakeErrorsNameCauseAndCure has servers that crypto/tls will not speak to, and
// some that it will.
func TestHandshakeErrorsNameCauseAndCure(t *testing.T) {
	ca := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	good := ca.issue(t, func(*x509.Certificate) {})
	noSAN := ca.issue(t, func(c *x509.Certificate) { c.DNSNames = nil })
	sha1 := ca.issue(t, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })
	own := new(authority).issue(t, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })
	for _, tt := range []struct {
		name          string
		mode          config.TLSMode
		server        *tls.Config
		message, hint string // "": no error
	}{
		{"good", config.VerifyFull, &tls.Config{Certificates: []tls.Certificate{good}}, "", ""},
		{"TLS 1.1 at most", config.VerifyFull, &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
			"speaks no TLS 1.2", "ssl_max_protocol_version"},
		{"no common cipher", config.VerifyFull, &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, "none of the TLS ciphers", "ECDHE-RSA-AES128-GCM-SHA256"},
		{"no SAN", config.VerifyFull, &tls.Config{Certificates: []tls.Certificate{noSAN}}, `not for the name "db.example": it has no subject alternative name`, "subjectAltName"},
		{"no SAN, verify-ca", config.VerifyCA, &tls.Config{Certificates: []tls.Certificate{noSAN}}, "", ""},
		{"SHA-1", config.VerifyFull, &tls.Config{Certificates: []tls.Certificate{sha1}}, "signed with SHA-1", "SHA-256"},
		{"SHA-1, verify-ca", config.VerifyCA, &tls.Config{Certificates: []tls.Certificate{sha1}}, "signed with SHA-1", "SHA-256"},
		{"SHA-1 by itself", config.VerifyFull, &tls.Config{Certificates: []tls.Certificate{own}}, "authority that credproxy does not know", "tls.ca_file"},
		{"not for servers", config.VerifyFull, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})}}, "not meant for servers", "serverAuth"},
		{"negative serial number", config.VerifyFull, &tls.Config{Certificates: []tls.Certificate{ca.negativeSerial(t, good)}}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := nettest.Pair(t)
			go func() { _ = tls.Server(server, tt.server).Handshake() }()
			u := &Dialer{Mode: tt.mode, TLS: &tls.Config{RootCAs: roots}}
			_, err := u.Handshake(t.Context(), client, "db.example")
			if tt.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if e := fault.As(err); err == nil || e.Kind != fault.UpstreamTLS || !strings.Contains(e.Message, tt.message) || !strings.Contains(e.Hint, tt.hint) || CutOff(err) {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestHandshakeCutOff has servers that end, or say nothing, in a handshake.
func TestHandshakeCutOff(t *testing.T) {
	for name, end := range map[string]func(server net.Conn){
		"closed": func(server net.Conn) { _, _ = server.Read(make([]byte, 16<<10)); _ = server.Close() },
		"reset":  func(server net.Conn) { _ = server.Close() }, // before it has read what came
		"silent": func(net.Conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := nettest.Pair(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if name == "silent" {
				ctx, cancel = context.WithTimeout(ctx, 10*time.Millisecond)
				defer cancel()
			}
			go end(server)
			_, err := (&Dialer{Mode: config.Require, TLS: new(tls.Config)}).Handshake(ctx, client, "db.example")
			if !CutOff(err) {
				t.Errorf("not cut off: %v", err)
			}
		})
	}
}
