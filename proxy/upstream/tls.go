package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/relay"
)

// Handshake starts TLS on conn, to a server known as host, as the mode demands.
// It must not be called in mode disable. The error is a *fault.Error of kind
// UpstreamTLS.
func (u *Dialer) Handshake(ctx context.Context, conn net.Conn, host string) (*tls.Conn, error) {
	if u.of != nil {
		return u.of.Handshake(ctx, conn, host)
	}
	use := u.config(host)
	cfg := use.cfg
	tc := tls.Client(relay.NewRecordConn(conn, nil), cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, tlsError(err, cfg.ServerName)
	}
	if cfg.CurvePreferences == nil && tc.ConnectionState().HelloRetryRequest {
		cfg = cfg.Clone()
		cfg.CurvePreferences = nistCurves
		u.last.Store(&applied{use.base, cfg})
	}
	return tc, nil
}

// applied is a configuration with mode and name applied, and what it was made of.
type applied struct{ base, cfg *tls.Config }

// Renew gives the handshakes from now on the roots and the client certificate of cfg. TLS
// sessions of the time before are not resumed: what they verified counts no more.
func (u *Dialer) Renew(cfg *tls.Config) {
	if u.TLS.ClientSessionCache != nil {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	u.renewed.Store(cfg)
}

// DescribeTLS tells for the log what a link to a database is protected by; nil means
// nothing.
func DescribeTLS(state *tls.ConnectionState) []zap.Field {
	if state == nil {
		return []zap.Field{zap.String("tls", "none")}
	}
	return []zap.Field{
		zap.String("tls", tls.VersionName(state.Version)), zap.String("cipher", tls.CipherSuiteName(state.CipherSuite)),
		zap.String("server_name", state.ServerName), zap.Bool("resumed", state.DidResume),
	}
}

// nistCurves are for a database that wants none of the key shares that crypto/tls
// sends at first (MySQL wants one of these three, if it can choose P-521): one round
// trip less and one key exchange. Every implementation of TLS 1.3 has P-256 (RFC 8446,
// 9.1).
var nistCurves = []tls.CurveID{tls.CurveP256, tls.CurveP384, tls.CurveP521}

func (u *Dialer) config(host string) *applied {
	name := cmp.Or(u.ServerName, host)
	base := cmp.Or(u.renewed.Load(), u.TLS)
	if last := u.last.Load(); last != nil && last.base == base && last.cfg.ServerName == name {
		return last
	}
	cfg := base.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	cfg.DynamicRecordSizingDisabled = true // a message is of no use before its last byte
	cfg.ServerName = name
	switch u.Mode {
	case config.VerifyFull:
	case config.VerifyCA:
		// The standard way to verify the chain without the name: turn off both
		// and do the one by hand (crypto/tls, Config.VerifyConnection).
		cfg.InsecureSkipVerify = true
		roots := cfg.RootCAs
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
			for _, c := range cs.PeerCertificates[1:] {
				opts.Intermediates.AddCert(c)
			}
			if _, err := cs.PeerCertificates[0].Verify(opts); err != nil {
				return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
			}
			return nil
		}
	case config.Require:
		cfg.InsecureSkipVerify = true
	}
	use := &applied{base, cfg}
	u.last.Store(use)
	return use
}
