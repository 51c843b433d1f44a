package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/secrets"
)

func TestDialErrors(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := refusing.Addr().(*net.TCPAddr).Port
	_ = refusing.Close()
	u := &Dialer{LookupTimeout: 5 * time.Second, DialTimeout: 5 * time.Second, DefaultPort: port}
	for host, want := range map[string]string{"127.0.0.1": "refuses connections", "no-such-host.invalid": "no-such-host.invalid"} {
		_, err := u.Dial(t.Context(), host, port)
		e, ok := errors.AsType[*fault.Error](err)
		if !ok || e.Kind != fault.Unreachable || !strings.Contains(e.Message, want) || e.Hint == "" {
			t.Errorf("%s: %+v", host, err)
		}
	}
	if _, _, err := u.Target(secrets.NewCredential("a", "b")); fault.As(err).Kind != fault.SecretProblem {
		t.Errorf("no host: %v", err)
	}
}

// TestUnreachedPlaceOfTheSecret has nobody listen at another server of a database: whoever has the
// place from a secret is to look there again.
func TestUnreachedPlaceOfTheSecret(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(refusing.Addr().String())
	_ = refusing.Close()
	for _, tt := range []struct {
		u    *Dialer
		want bool
	}{
		{&Dialer{DialTimeout: 5 * time.Second}, true},
		{&Dialer{Host: "db.example", DialTimeout: 5 * time.Second}, true},
		{&Dialer{Host: "db.example", Port: 5432, DialTimeout: 5 * time.Second}, false},
	} {
		_, err := tt.u.At("one.example", 5432, addr).Dial(t.Context(), "one.example", 5432)
		if fault.As(err).Kind != fault.Unreachable || secrets.IsWrongEndpoint(err) != tt.want {
			t.Errorf("host %q, port %d: wrong endpoint %v (%v), want %v", tt.u.Host, tt.u.Port, !tt.want, err, tt.want)
		}
	}
}

func TestTargetPrefersTheConfiguration(t *testing.T) {
	cred := secrets.NewCredential("a", "b")
	cred.Endpoint = secrets.Endpoint{Host: "secret", Port: 1}
	for _, tt := range []struct {
		u    *Dialer
		want string
	}{
		{&Dialer{DefaultPort: 5432}, "secret:1"},
		{&Dialer{Host: "conf", DefaultPort: 5432}, "conf:1"},
		{&Dialer{Host: "conf", Port: 2, DefaultPort: 5432}, "conf:2"},
	} {
		host, port, err := tt.u.Target(cred)
		if got := fmt.Sprintf("%s:%d", host, port); got != tt.want || err != nil {
			t.Errorf("%s (%v), want %s", got, err, tt.want)
		}
	}
}

func TestHandshakeVerifiesWhatTheModeSays(t *testing.T) {
	cert := nettest.Certificate(t, "db.example")
	known := x509.NewCertPool()
	known.AddCert(cert.Leaf)
	tests := []struct {
		mode       config.TLSMode
		host, name string
		roots      *x509.CertPool
		fails      string
	}{
		{config.VerifyFull, "db.example", "", known, ""},
		{config.VerifyFull, "other.example", "db.example", known, ""},
		{config.VerifyFull, "other.example", "", known, `not for the name "other.example"`},
		{config.VerifyFull, "127.0.0.1", "", known, "not for the name"},
		{config.VerifyFull, "db.example", "", x509.NewCertPool(), "authority that credproxy does not know"},
		{config.VerifyCA, "other.example", "", known, ""},
		{config.VerifyCA, "db.example", "", x509.NewCertPool(), "authority that credproxy does not know"},
		{config.Require, "other.example", "", x509.NewCertPool(), ""},
	}
	for _, tt := range tests {
		client, server := nettest.Pair(t)
		go func() {
			s := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}})
			_ = s.Handshake()
		}()
		u := &Dialer{Mode: tt.mode, ServerName: tt.name, TLS: &tls.Config{RootCAs: tt.roots}}
		_, err := u.Handshake(t.Context(), client, tt.host)
		if tt.fails == "" {
			if err != nil {
				t.Errorf("%s %s: %v", tt.mode, tt.host, err)
			}
			continue
		}
		e := fault.As(err)
		if err == nil || e.Kind != fault.UpstreamTLS || !strings.Contains(e.Message, tt.fails) || e.Hint == "" {
			t.Errorf("%s %s: %+v, want %q", tt.mode, tt.host, err, tt.fails)
		}
	}
}
