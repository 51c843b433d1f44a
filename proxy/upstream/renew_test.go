package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
)

// TestRenew holds that handshakes after a renewal trust the new roots alone, and resume
// nothing that the old ones verified.
func TestRenew(t *testing.T) {
	old, fresh := x509.NewCertPool(), x509.NewCertPool()
	u := &Dialer{TLS: &tls.Config{RootCAs: old, ClientSessionCache: tls.NewLRUClientSessionCache(0)}}
	before := u.config("db.example")
	if u.config("db.example") != before {
		t.Error("handshakes with one database share no configuration")
	}
	u.Renew(&tls.Config{RootCAs: fresh})
	after := u.config("db.example")
	if after.cfg.RootCAs != fresh || after.cfg.ServerName != "db.example" {
		t.Error("the old roots are in use")
	}
	if after.cfg.ClientSessionCache == nil || after.cfg.ClientSessionCache == before.cfg.ClientSessionCache {
		t.Error("sessions from before can be resumed")
	}
	u.last.Store(before) // by a handshake that was under way
	if u.config("db.example").cfg.RootCAs != fresh {
		t.Error("a handshake that was under way brought the old roots back")
	}
}
