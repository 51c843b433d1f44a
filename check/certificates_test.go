package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/config"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate that is valid from and until so many days from now,
// signed by a, or by itself if a is nil, with changes.
func (a *authority) issue(t *testing.T, name string, isCA bool, from, until int, changes ...func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: isCA, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(0, 0, from), NotAfter: time.Now().AddDate(0, 0, until),
	}
	if !isCA {
		c.DNSNames = []string{name}
	}
	for _, change := range changes {
		change(c)
	}
	parent, signer := c, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &authority{c, key}
}

// TestJudge names the certificate that is at fault, wherever it stands.
func TestJudge(t *testing.T) {
	root := (*authority)(nil).issue(t, "root", true, -9, 900)
	good := root.issue(t, "middle", true, -9, 900)
	old := root.issue(t, "old middle", true, -9, -2)
	soon := root.issue(t, "soon middle", true, -9, 12)
	stranger := (*authority)(nil).issue(t, "stranger", true, -9, 900)
	sha1 := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }
	weak := root.issue(t, "weak middle", true, -9, 900, sha1)
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	for _, tt := range []struct {
		name   string
		mode   config.TLSMode
		leaf   *authority
		above  *authority
		result string
		says   []string
	}{
		{"good", config.VerifyFull, good.issue(t, "db.test", false, -9, 300), good, OK, []string{`certificate "db.test" of "middle" (until 2`, "is verified"}},
		{"leaf ends soon", config.VerifyFull, good.issue(t, "db.test", false, -9, 20), good, Warning, []string{`"db.test"`, "ends in 19 days"}},
		{"middle ends soon", config.VerifyFull, soon.issue(t, "db.test", false, -9, 300), soon, Warning, []string{`"soon middle" of "root"`, "ends in 11 days"}},
		{"leaf has ended", config.VerifyFull, good.issue(t, "db.test", false, -9, -1), good, Failed, []string{`"db.test" of "middle"`, "has expired"}},
		{"middle has ended", config.VerifyCA, old.issue(t, "db.test", false, -9, 300), old, Failed, []string{`"old middle" of "root"`, "has expired"}},
		{"not yet", config.VerifyFull, good.issue(t, "db.test", false, 2, 300), good, Failed, []string{`"db.test"`, "is not valid before 2"}},
		{"unknown", config.VerifyFull, stranger.issue(t, "db.test", false, -9, 300), stranger, Failed, []string{`of "stranger"`, "does not know"}},
		{"middle not sent", config.VerifyFull, good.issue(t, "db.test", false, -9, 300), nil, Failed, []string{`"db.test" of "middle"`, "does not know"}},
		{"other name", config.VerifyFull, good.issue(t, "other.test", false, -9, 300), good, Failed, []string{"is for other.test, not for db.test"}},
		{"other name, not looked at", config.VerifyCA, good.issue(t, "other.test", false, -9, 300), good, OK, nil},
		{"no SAN", config.VerifyFull, good.issue(t, "db.test", false, -9, 300, func(c *x509.Certificate) { c.DNSNames = nil }), good, Failed, []string{"is not for db.test", "no subject alternative name"}},
		{"SHA-1", config.VerifyFull, good.issue(t, "db.test", false, -9, 300, sha1), good, Failed, []string{`"db.test" of "middle"`, "signed with SHA-1"}},
		{"middle with SHA-1", config.VerifyCA, weak.issue(t, "db.test", false, -9, 300), weak, Failed, []string{`"weak middle" of "root"`, "signed with SHA-1"}},
		{"nothing looked at", config.Require, stranger.issue(t, "db.test", false, -9, 300), stranger, Warning, []string{"not verified"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chain := []*x509.Certificate{tt.leaf.cert}
			if tt.above != nil {
				chain = append(chain, tt.above.cert)
			}
			s := judge(chain, pool, tt.mode, "db.test")
			for _, want := range tt.says {
				if !strings.Contains(s.Detail, want) {
					t.Errorf("does not say %q: %s", want, s.Detail)
				}
			}
			if s.Result != tt.result || (s.Advice == "") != (tt.result == OK) {
				t.Errorf("%+v, want %s", s, tt.result)
			}
		})
	}
}
