package integration_test

import (
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestTLSThatIsTooOld has servers whose TLS credproxy will not speak, and looks at what its
// clients hear.
func TestTLSThatIsTooOld(t *testing.T) {
	ca := newCA(t)
	aws := startAWS(t, awsstub.Options{})
	config := "databases:\n"
	cases := []struct {
		name     string
		settings map[string]string
		says     string
	}{
		{"version", map[string]string{"ssl_min_protocol_version": "TLSv1.1", "ssl_max_protocol_version": "TLSv1.1", "ssl_ciphers": "DEFAULT@SECLEVEL=0"}, "speaks no TLS 1.2"},
		{"cipher", map[string]string{"ssl_max_protocol_version": "TLSv1.2", "ssl_ciphers": "ECDHE-ECDSA-AES256-CCM8"}, "none of the TLS ciphers"},
	}
	for _, tt := range cases {
		pg := newPostgres(t, servers.PostgresOptions{Version: 15, CA: ca, Settings: tt.settings})
		arn := aws.CreateSecret("prod/"+tt.name, secretJSON(pg, "app", appPassword))
		config += smDatabase(tt.name, arn, "tls: "+tlsYAML("", pg.CAFile))
	}
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: config}, appPassword)
	for _, tt := range cases {
		w.ours(t, w.refused(t, tt.name, "postgres"), "57P03", tt.says)
		w.failure(t, tt.name, `"result":"upstream_tls"`, "hint")
	}
}
