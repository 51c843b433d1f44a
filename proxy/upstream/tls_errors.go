package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/credproxy/credproxy/proxy/fault"
)

// tlsError tells the ways apart in which a handshake fails.
func tlsError(err error, name string) error {
	e := &fault.Error{Kind: fault.UpstreamTLS, Err: err}
	cert := "the certificate"
	if v, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(v.UnverifiedCertificates) > 0 {
		cert = fmt.Sprintf("the certificate (subject %q)", v.UnverifiedCertificates[0].Subject)
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case unknown:
		e.Message = cert + " of the database is signed by an authority that credproxy does not know"
		e.Hint = "Set tls.ca_file to the authority's certificate. Certificates of RDS and Aurora are known without it."
	case host:
		e.Message = fmt.Sprintf("%s of the database is not for the name %q", cert, name)
		e.Hint = "Set host to the endpoint that RDS shows, or tls.server_name to the name in the certificate."
	case isInvalid && invalid.Reason == x509.Expired:
		e.Message = cert + " of the database has expired or is not valid yet"
		e.Hint = "Renew the database's certificate, and check this machine's clock."
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		e.Message, e.Hint = "the TLS handshake with the database took too long", "Is the database overloaded?"
	default:
		e.Message, e.Hint = "the TLS handshake with the database failed", "The log of credproxy has the details."
	}
	return e
}
