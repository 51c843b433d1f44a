// Package pki makes certificates for the tests: authorities nobody else trusts,
// and leaves that are good, expired, or made out to another host.
//
// Every key is new and lives in memory until a test writes it to a file. Nothing
// here checks a certificate; that is what the tests have the servers and clients do.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// CA is a self-signed certificate authority.
type CA struct {
	PEM []byte // its certificate

	cert *x509.Certificate
	key  crypto.Signer
}

// Leaf says what a certificate is for. The zero value of a time means an hour
// ago for NotBefore and a day ahead for NotAfter.
type Leaf struct {
	Names               []string
	IPs                 []net.IP
	NotBefore, NotAfter time.Time
	Client              bool // for a client's use, with the first name as common name; else for a server's
	RSA                 bool // an RSA key of 2048 bits, as RDS has; else ECDSA P-256
}

// Certificate is an issued leaf with its key.
type Certificate struct {
	CertPEM, KeyPEM []byte
}

// Localhost is a good leaf for a server on this machine.
func Localhost() Leaf {
	return Leaf{Names: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}}
}

// Expired is Localhost, but its time ended a minute ago.
func Expired() Leaf {
	l := Localhost()
	l.NotAfter = time.Now().Add(-time.Minute)
	return l
}

// WrongHost is a good leaf of a server elsewhere.
func WrongHost() Leaf {
	return Leaf{Names: []string{"elsewhere.test"}}
}

// NewCA makes an authority that signs with ECDSA P-256 and SHA-256.
func NewCA(name string) (*CA, error) { return newCA(name, false) }

// NewRSACA makes an authority that signs with RSA 2048 and SHA-256, as the RDS ones do.
func NewRSACA(name string) (*CA, error) { return newCA(name, true) }

func newCA(name string, useRSA bool) (*CA, error) {
	key, err := newKey(useRSA)
	if err != nil {
		return nil, fmt.Errorf("make authority key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-24 * time.Hour),
		NotAfter:              time.Now().AddDate(2, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse authority: %w", err)
	}
	return &CA{PEM: encode("CERTIFICATE", der), cert: cert, key: key}, nil
}

// Issue signs a new leaf with a new key.
func (ca *CA) Issue(l Leaf) (*Certificate, error) {
	key, err := newKey(l.RSA)
	if err != nil {
		return nil, fmt.Errorf("make leaf key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		DNSNames:     l.Names,
		IPAddresses:  l.IPs,
		NotBefore:    l.NotBefore,
		NotAfter:     l.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if l.Client {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	if len(l.Names) > 0 {
		template.Subject.CommonName = l.Names[0]
	}
	if l.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if l.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign leaf: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode leaf key: %w", err)
	}
	return &Certificate{CertPEM: encode("CERTIFICATE", der), KeyPEM: encode("PRIVATE KEY", keyDER)}, nil
}

// Pool holds this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Write puts the authority's certificate into dir as NAME.crt and returns the path.
func (ca *CA) Write(dir, name string) (file string, err error) {
	file = filepath.Join(dir, name+".crt")
	return file, os.WriteFile(file, ca.PEM, 0o644)
}

// Write puts the leaf into dir as NAME.crt and NAME.key and returns the paths.
func (c *Certificate) Write(dir, name string) (certFile, keyFile string, err error) {
	certFile = filepath.Join(dir, name+".crt")
	keyFile = filepath.Join(dir, name+".key")
	if err := os.WriteFile(certFile, c.CertPEM, 0o644); err != nil {
		return "", "", err
	}
	return certFile, keyFile, os.WriteFile(keyFile, c.KeyPEM, 0o600)
}

// TLS is the leaf in the form crypto/tls takes.
func (c *Certificate) TLS() (tls.Certificate, error) {
	return tls.X509KeyPair(c.CertPEM, c.KeyPEM)
}

func newKey(useRSA bool) (crypto.Signer, error) {
	if useRSA {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func serial() *big.Int {
	n := make([]byte, 16)
	rand.Read(n) // never fails
	return new(big.Int).SetBytes(n)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
