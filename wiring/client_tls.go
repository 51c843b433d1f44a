package wiring

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/postgres"
)

// NewClientTLS returns the side of TLS that clients see who ask for it.
func NewClientTLS(cfg config.ClientTLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("client_tls.cert_file: %w", err)
	}
	t := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if cfg.ClientCAFile != "" {
		t.ClientAuth = tls.RequireAndVerifyClientCert
		if t.ClientCAs, err = readPool("client_tls.client_ca_file", cfg.ClientCAFile); err != nil {
			return nil, err
		}
		t.VerifyConnection = func(cs tls.ConnectionState) error { return verifyResumed(cs, t.ClientCAs) }
	}
	return t, nil
}

// verifyResumed verifies the client of a resumed session, whose certificate was verified
// when the session began: perhaps by another authority than today's.
func verifyResumed(cs tls.ConnectionState, roots *x509.CertPool) error {
	if !cs.DidResume || len(cs.PeerCertificates) == 0 {
		return nil
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(opts)
	return err
}

// ClientTLS is the side of TLS that clients see, of which each handshake takes what is in
// force by then.
type ClientTLS struct {
	plain, postgres atomic.Pointer[tls.Config]
}

// Set has the handshakes from now on take cfg.
func (c *ClientTLS) Set(cfg *tls.Config) {
	c.plain.Store(cfg)
	c.postgres.Store(postgres.NewClientTLS(cfg))
}

// of returns what an engine starts TLS with, nil for a nil ClientTLS.
func (c *ClientTLS) of(engine config.Engine) *tls.Config {
	if c == nil {
		return nil
	}
	now := &c.plain
	if engine == config.Postgres {
		now = &c.postgres
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return now.Load(), nil },
	}
}
