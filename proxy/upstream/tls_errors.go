package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/credproxy/credproxy/proxy/fault"
)

// What an operator does about a certificate or a handshake.
const (
	AdviceSHA1  = "Issue it anew with SHA-256: what is signed with SHA-1 or MD5 can be forged."
	AdviceNoSAN = "Issue it anew with a subjectAltName. Until then tls.mode verify-ca with tls.ca_file verifies its authority, and no name."

	adviceVersion = "Let it speak TLS 1.2 or 1.3: ssl_max_protocol_version in PostgreSQL, tls_version in MySQL, the parameter group on RDS."
	adviceCipher  = "Let it take TLS 1.3, or in TLS 1.2 a cipher with ECDHE such as ECDHE-RSA-AES128-GCM-SHA256: " +
		"ssl_ciphers in PostgreSQL, ssl_cipher in MySQL, the parameter group on RDS."
)

// tlsError tells the ways apart in which a handshake fails.
func tlsError(err error, name string) error {
	e := &fault.Error{Kind: fault.UpstreamTLS, Err: err}
	switch v, ok := errors.AsType[*tls.CertificateVerificationError](err); {
	case ok && len(v.UnverifiedCertificates) > 0:
		e.Message, e.Hint = chainError(v.UnverifiedCertificates, v.Err, name)
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		e.Message, e.Hint = "the TLS handshake with the database took too long", "Is the database overloaded?"
	default:
		e.Message, e.Hint = handshakeError(err.Error())
	}
	return e
}

// CutOff reports whether err is of a handshake that broke off because the connection did, or
// because nothing came: a server that ends does that. It says nothing of the server's TLS.
func CutOff(err error) bool {
	if fault.As(err).Kind != fault.UpstreamTLS {
		return false
	}
	for _, cut := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, context.DeadlineExceeded, os.ErrDeadlineExceeded} {
		if errors.Is(err, cut) {
			return true
		}
	}
	return false
}

// handshakeError tells by its text why a handshake failed: crypto/tls has no other word
// for the alerts of the far end and its own verdicts.
func handshakeError(text string) (message, hint string) {
	says := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	switch {
	case says("remote error: tls: protocol version not supported", "server selected unsupported protocol version"):
		return "the database speaks no TLS 1.2 or 1.3", adviceVersion
	case says("remote error: tls: handshake failure", "remote error: tls: insufficient security level", "server chose an unconfigured cipher suite"):
		return "the database takes none of the TLS ciphers that credproxy offers", adviceCipher
	case says("failed to parse certificate"):
		return "the certificate of the database cannot be read", "Issue it anew; the log of credproxy says what is wrong in it."
	}
	return "the TLS handshake with the database failed", "The log of credproxy has the details."
}

// chainError tells why a database that was looked for by name is not known by its chain of
// certificates, the leaf first.
func chainError(chain []*x509.Certificate, err error, name string) (message, hint string) {
	cert := fmt.Sprintf("the certificate (subject %q) of the database", chain[0].Subject)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case unknown && WeaklySigned(chain) != nil:
		return cert + " is signed with SHA-1 or MD5, or one on the way to its authority is", AdviceSHA1
	case unknown:
		return cert + " is signed by an authority that credproxy does not know",
			"Set tls.ca_file to the authority's certificate. Certificates of RDS and Aurora are known without it."
	case host && NamesNoHost(chain[0]):
		return fmt.Sprintf("%s is not for the name %q: it has no subject alternative name, and a common name does not count", cert, name), AdviceNoSAN
	case host:
		return fmt.Sprintf("%s is not for the name %q", cert, name),
			"Set host to the endpoint that RDS shows, or tls.server_name to the name in the certificate."
	case isInvalid && invalid.Reason == x509.Expired:
		return cert + " has expired or is not valid yet", "Renew the database's certificate, and check this machine's clock."
	case isInvalid && invalid.Reason == x509.IncompatibleUsage:
		return cert + " is not meant for servers", "Issue it anew with the extended key usage serverAuth, or with none."
	}
	return cert + " cannot be verified", "The log of credproxy has the details."
}

// WeaklySigned returns the first of chain whose signature nobody believes any more, nil if
// there is none. One that has signed itself proves nothing by it, and is not meant.
func WeaklySigned(chain []*x509.Certificate) *x509.Certificate {
	for _, c := range chain {
		switch c.SignatureAlgorithm {
		case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
			if !bytes.Equal(c.RawIssuer, c.RawSubject) {
				return c
			}
		}
	}
	return nil
}

// NamesNoHost reports whether c is for no host at all: its subject's common name is not
// looked at (RFC 9525, 1.2).
func NamesNoHost(c *x509.Certificate) bool { return len(c.DNSNames) == 0 && len(c.IPAddresses) == 0 }
