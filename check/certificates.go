package check

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/upstream"
)

// expiresSoon is how long before its end a certificate is worth a warning.
const expiresSoon = 30 * 24 * time.Hour

// judge verifies a database's certificates, the leaf first, as mode does it, and
// names the one at fault.
func judge(chain []*x509.Certificate, roots *x509.CertPool, mode config.TLSMode, name string) Step {
	if len(chain) == 0 {
		return Step{Result: Failed, Detail: "the database shows no certificate"}
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if mode == config.VerifyFull {
		opts.DNSName = name
	}
	verified, err := chain[0].Verify(opts)
	if mode == config.Require {
		return Step{Result: Warning, Detail: "not verified, for tls.mode is require: " + describe(chain[0]), Advice: "Use verify-full."}
	}
	if err != nil {
		return chainError(chain, err)
	}
	for _, c := range verified[0] {
		if left := time.Until(c.NotAfter); left < expiresSoon {
			return Step{
				Result: Warning, Detail: fmt.Sprintf("%s ends in %d days", describe(c), int(left/(24*time.Hour))),
				Advice: "Renew it before. On RDS choose a current certificate authority for the instance, such as rds-ca-rsa2048-g1.",
			}
		}
	}
	return fine("%s is verified", describe(chain[0]))
}

// chainError is the step that failed with err, with the certificate that is at fault.
func chainError(chain []*x509.Certificate, err error) Step {
	s := Step{Result: Failed}
	unknown, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	host, isHost := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case isHost && upstream.NamesNoHost(host.Certificate):
		s.Detail = fmt.Sprintf("%s is not for %s: it has no subject alternative name, and a common name does not count", describe(host.Certificate), host.Host)
		s.Advice = upstream.AdviceNoSAN
	case isHost:
		names := host.Certificate.DNSNames
		for _, ip := range host.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		s.Detail = fmt.Sprintf("%s is for %s, not for %s", describe(host.Certificate), strings.Join(names, ", "), host.Host)
		s.Advice = "Set host to the endpoint that RDS shows, or tls.server_name to a name in the certificate."
	case isInvalid && invalid.Reason == x509.Expired && time.Now().Before(invalid.Cert.NotBefore):
		s.Detail = fmt.Sprintf("%s is not valid before %s", describe(invalid.Cert), day(invalid.Cert.NotBefore))
		s.Advice = "Check this machine's clock."
	case isInvalid && invalid.Reason == x509.Expired:
		s.Detail = describe(invalid.Cert) + " has expired"
		s.Advice = "Renew it: on RDS, choose a current certificate authority for the instance. And check this machine's clock."
	case isUnknown && upstream.WeaklySigned(chain) != nil:
		s.Detail = describe(upstream.WeaklySigned(chain)) + " is signed with SHA-1 or MD5"
		s.Advice = upstream.AdviceSHA1
	case isUnknown:
		at := unknown.Cert
		if at == nil {
			at = chain[len(chain)-1]
		}
		s.Detail = describe(at) + " is signed by an authority that credproxy does not know"
		s.Advice = "Set tls.ca_file to the authority's certificate. Most certificates of RDS and Aurora are known without it."
	case isInvalid:
		s.Detail = fmt.Sprintf("%s: %v", describe(invalid.Cert), err)
	default:
		s.Detail = fmt.Sprintf("%s: %v", describe(chain[0]), err)
	}
	return s
}

// describe names a certificate, who signed it, and its end.
func describe(c *x509.Certificate) string {
	subject, issuer := c.Subject.CommonName, c.Issuer.CommonName
	if subject == "" {
		subject = c.Subject.String()
	}
	if subject == "" && len(c.DNSNames) > 0 {
		subject = c.DNSNames[0]
	}
	if issuer == "" {
		issuer = c.Issuer.String()
	}
	return fmt.Sprintf("certificate %q of %q (until %s)", subject, issuer, day(c.NotAfter))
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }
