package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/credproxy/credproxy/integration/pki"
)

// handshake connects a client that trusts only ca, and wants localhost, to a server with cert.
func handshake(t *testing.T, ca *pki.CA, cert *pki.Certificate) error {
	t.Helper()
	pair, err := cert.TLS()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if conn, err := listener.Accept(); err == nil {
			conn.(*tls.Conn).Handshake() // the client's verdict is what counts
			conn.Close()
		}
	}()
	client, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"})
	if err == nil {
		client.Close()
	}
	<-served
	return err
}

func TestLeavesAsAClientSeesThem(t *testing.T) {
	ca, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	rsaCA, err := pki.NewRSACA("rsa")
	if err != nil {
		t.Fatal(err)
	}
	rsaLeaf := pki.Localhost()
	rsaLeaf.RSA = true
	client := pki.Localhost()
	client.Client = true
	tests := []struct {
		name     string
		issuer   *pki.CA
		leaf     pki.Leaf
		accepted func(error) bool
	}{
		{"localhost", ca, pki.Localhost(), isNil},
		{"rsa leaf", ca, rsaLeaf, isNil},
		{"expired", ca, pki.Expired(), invalid(x509.Expired)},
		{"for a client", ca, client, invalid(x509.IncompatibleUsage)},
		{"wrong host", ca, pki.WrongHost(), isA[x509.HostnameError]},
		{"other authority", rsaCA, rsaLeaf, isA[x509.UnknownAuthorityError]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cert, err := tt.issuer.Issue(tt.leaf)
			if err != nil {
				t.Fatal(err)
			}
			if err := handshake(t, ca, cert); !tt.accepted(err) {
				t.Errorf("handshake: %v", err)
			}
		})
	}
}

func isNil(err error) bool { return err == nil }

func isA[E error](err error) bool {
	var want E
	return errors.As(err, &want)
}

func invalid(reason x509.InvalidReason) func(error) bool {
	return func(err error) bool {
		var got x509.CertificateInvalidError
		return errors.As(err, &got) && got.Reason == reason
	}
}
