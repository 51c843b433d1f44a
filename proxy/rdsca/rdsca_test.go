package rdsca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func certificates(t *testing.T) []*x509.Certificate {
	t.Helper()
	var certs []*x509.Certificate
	rest := bundle
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatalf("certificate %d: %v", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if left := strings.TrimSpace(string(rest)); left != "" {
		t.Fatalf("text after the last certificate: %.40q", left)
	}
	return certs
}

func TestHeaderAgreesWithConstants(t *testing.T) {
	for _, line := range []string{
		"# Generated: " + Generated + "\n",
		fmt.Sprintf("# Certificates: %d\n", Count),
	} {
		if !bytes.Contains(bundle, []byte(line)) {
			t.Errorf("rds-ca.pem has no line %q: set the constants after generating", line)
		}
	}
}

func TestEveryCertificate(t *testing.T) {
	generated, err := time.Parse(time.DateOnly, Generated)
	if err != nil {
		t.Fatal(err)
	}
	certs := certificates(t)
	if len(certs) != Count {
		t.Errorf("%d certificates, want %d", len(certs), Count)
	}
	seen := map[string]bool{}
	for _, c := range certs {
		name := c.Subject.String()
		if seen[string(c.Raw)] {
			t.Errorf("%s: twice", name)
		}
		seen[string(c.Raw)] = true
		if !c.IsCA || !c.BasicConstraintsValid {
			t.Errorf("%s: no certificate authority", name)
		}
		if !c.NotAfter.After(generated) {
			t.Errorf("%s: expired on %s", name, c.NotAfter)
		}
		if !strings.Contains(c.Subject.CommonName, "Amazon RDS") {
			t.Errorf("%s: not of Amazon RDS", name)
		}
		if err := c.CheckSignatureFrom(c); err != nil {
			t.Errorf("%s: not its own root: %v", name, err)
		}
		if comment := fmt.Sprintf("# %s, not after %s\n", name, c.NotAfter.Format(time.DateOnly)); !bytes.Contains(bundle, []byte(comment)) {
			t.Errorf("%s: no comment line names it", name)
		}
	}
}

// Every region that Regions names has all three kinds of root.
func TestRegions(t *testing.T) {
	names := map[string]bool{}
	for _, c := range certificates(t) {
		names[c.Subject.CommonName] = true
	}
	regions := Regions()
	if len(regions) != 27 || !slices.Contains(regions, "eu-west-1") || !slices.Contains(regions, "ap-southeast-4") {
		t.Errorf("regions: %q", regions)
	}
	for _, region := range regions {
		for _, kind := range []string{"RSA2048", "RSA4096", "ECC384"} {
			if name := "Amazon RDS " + region + " Root CA " + kind + " G1"; !names[name] {
				t.Errorf("no %s", name)
			}
		}
	}
}

func TestAddTo(t *testing.T) {
	pool := x509.NewCertPool()
	AddTo(pool)
	for _, c := range certificates(t) {
		opts := x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: c.NotBefore.Add(time.Hour)}
		if _, err := c.Verify(opts); err != nil {
			t.Errorf("%s does not verify with the pool: %v", c.Subject.CommonName, err)
		}
	}
}
