package wiring

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/rdsca"
	"github.com/credproxy/credproxy/proxy/upstream"
)

// NewUpstream returns the dialer of the database, with the certificates for the way
// there. Its DefaultPort is not set before [Engines.New].
func NewUpstream(cfg *config.Database) (*upstream.Dialer, error) {
	u := &upstream.Dialer{
		Host: cfg.Host, Port: cfg.Port, LookupTimeout: cfg.Limits.LookupTimeout, DialTimeout: cfg.Limits.DialTimeout, ServerTimeout: cfg.Limits.ServerTimeout,
		Mode: cfg.TLS.Mode, ServerName: cfg.TLS.ServerName, TLS: &tls.Config{},
		AllowUnverifiedPassword: cfg.TLS.AllowUnverifiedPassword,
	}
	var err error
	if cfg.TLS.CAFile != "" {
		u.TLS.RootCAs, err = readPool("tls.ca_file", cfg.TLS.CAFile)
	} else {
		u.TLS.RootCAs, err = x509.SystemCertPool()
		if err != nil { // an image without roots of its own
			u.TLS.RootCAs, err = x509.NewCertPool(), nil
		}
		rdsca.AddTo(u.TLS.RootCAs)
	}
	if err != nil {
		return nil, err
	}
	if cfg.Credentials.DSQL != nil {
		u.TLS.MinVersion = tls.VersionTLS13
	}
	if cfg.TLS.ClientCertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLS.ClientCertFile, cfg.TLS.ClientKeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.client_cert_file: %w", err)
		}
		u.TLS.Certificates = []tls.Certificate{cert}
	}
	return u, nil
}

func readPool(key, path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", key, path)
	}
	return pool, nil
}
