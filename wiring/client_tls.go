package wiring

import (
	"crypto/tls"
	"fmt"

	"github.com/credproxy/credproxy/config"
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
	}
	return t, nil
}
