package wiring

import (
	"slices"

	"github.com/credproxy/credproxy/config"
)

// Files returns the files that cfg names for TLS on both sides.
func Files(cfg *config.Database) []string {
	return slices.DeleteFunc([]string{
		cfg.TLS.CAFile, cfg.TLS.ClientCertFile, cfg.TLS.ClientKeyFile,
		cfg.ClientTLS.CertFile, cfg.ClientTLS.KeyFile, cfg.ClientTLS.ClientCAFile,
	}, func(path string) bool { return path == "" })
}
