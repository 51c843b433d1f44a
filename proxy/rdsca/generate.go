//go:build ignore

// Generate reads PEM certificates and writes those that have not expired at
// -date, sorted, without duplicates, each under a comment that names it.
package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	source := flag.String("package", "", "where the certificates come from")
	date := flag.String("date", "", "leave out what has expired on this day (YYYY-MM-DD)")
	flag.Parse()

	day, err := time.Parse(time.DateOnly, *date)
	if err != nil {
		log.Fatal(err)
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	certs, err := unexpired(input, day)
	if err != nil {
		log.Fatal(err)
	}

	fmt.Printf("# Certificate authorities of Amazon RDS, from %s.\n", *source)
	fmt.Printf("# Generated: %s\n# Certificates: %d\n", *date, len(certs))
	for _, c := range certs {
		fmt.Printf("\n# %s, not after %s\n", c.Subject, c.NotAfter.Format(time.DateOnly))
		if err := pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			log.Fatal(err)
		}
	}
}

// unexpired parses every certificate of input and sorts those valid after day by
// common name, then by content.
func unexpired(input []byte, day time.Time) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(input); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if c.NotAfter.After(day) {
			certs = append(certs, c)
		}
	}
	slices.SortFunc(certs, func(a, b *x509.Certificate) int {
		if by := strings.Compare(a.Subject.CommonName, b.Subject.CommonName); by != 0 {
			return by
		}
		return bytes.Compare(a.Raw, b.Raw)
	})
	return slices.CompactFunc(certs, (*x509.Certificate).Equal), nil
}
