package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/nettest"
)

// TestHandshakeLearnsTheKeyShare has a server that knows no curve but those of NIST, as
// MySQL does: only the first handshake takes another round trip.
func TestHandshakeLearnsTheKeyShare(t *testing.T) {
	cert := nettest.Certificate(t, "db.example")
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	handshake := func(u *Dialer, server *tls.Config) tls.ConnectionState {
		t.Helper()
		near, far := nettest.Pair(t)
		database := tls.Server(far, server)
		done := make(chan error, 1)
		go func() { done <- database.Handshake() }()
		link, err := u.Handshake(t.Context(), near, "db.example")
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return link.ConnectionState()
	}
	nist := &tls.Config{Certificates: []tls.Certificate{cert}, CurvePreferences: []tls.CurveID{tls.CurveP521, tls.CurveP384, tls.CurveP256}}
	u := &Dialer{Mode: config.VerifyFull, TLS: &tls.Config{RootCAs: roots}}
	for n, again := range []bool{true, false, false} {
		if s := handshake(u, nist); s.HelloRetryRequest != again {
			t.Errorf("handshake %d: another round trip: %v", n+1, s.HelloRetryRequest)
		}
	}
	any := &tls.Config{Certificates: []tls.Certificate{cert}}
	if s := handshake(u, any); s.HelloRetryRequest {
		t.Error("another round trip with a server that knows all")
	}
	u = &Dialer{Mode: config.VerifyFull, TLS: &tls.Config{RootCAs: roots}}
	for range 2 { // stays with what is safe from quantum computers
		if s := handshake(u, any); s.CurveID != tls.X25519MLKEM768 {
			t.Errorf("key exchange %v", s.CurveID)
		}
	}
}
