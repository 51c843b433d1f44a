package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/relay"
	"github.com/credproxy/credproxy/secrets"
)

// Dialer is where a database is and how to get there safely.
type Dialer struct {
	Host        string        // empty: the secret's
	Port        int           // 0: the secret's, else DefaultPort
	DefaultPort int           // of the engine
	DialTimeout time.Duration // for all addresses of the host together
	Mode        config.TLSMode
	ServerName  string      // the name to verify; empty: the host
	TLS         *tls.Config // roots and client certificate; mode and name are applied to a copy at the first handshake
	Breaker     *Breaker    // in front of the database; nil: none

	resolver *net.Resolver              // nil: the system's
	last     atomic.Pointer[tls.Config] // the one in use; sessions share it
}

// Encrypts reports whether links are to be encrypted: all but in mode disable.
func (u *Dialer) Encrypts() bool { return u.Mode != config.Disable }

// Link returns what is known of a connection that was dialled here: whether it is
// inside TLS that [Dialer.Handshake] started, and whether the far end has proved to be
// the database.
func (u *Dialer) Link(conn net.Conn) secrets.Link {
	tc, ok := conn.(*tls.Conn)
	switch {
	case !ok || !tc.ConnectionState().HandshakeComplete:
		return secrets.NotEncrypted
	case u.Mode == config.VerifyFull || u.Mode == config.VerifyCA:
		return secrets.Verified
	}
	return secrets.Encrypted
}

// Target returns host and port to dial with cred.
func (u *Dialer) Target(cred *secrets.Credential) (host string, port int, err error) {
	host, port = u.Host, u.Port
	if host == "" {
		host = cred.Endpoint.Host
	}
	if port == 0 {
		port = cred.Endpoint.Port
	}
	if port == 0 {
		port = u.DefaultPort
	}
	if host == "" {
		return "", 0, secrets.MarkWrongEndpoint(&fault.Error{Kind: fault.SecretProblem, Message: "neither the configuration nor the secret names the database's host",
			Hint: "Set host for this database in the configuration of credproxy."})
	}
	return host, port, nil
}

// Dial opens a TCP connection. The name is resolved anew, and its addresses, IPv6 and
// IPv4, race each other (RFC 8305): one that says nothing holds up no login. At most
// 32 are tried. While the Breaker is open nothing is tried. The error is a *fault.Error of
// kind Unreachable, marked as secrets.MarkWrongEndpoint if the secret named the place, or of
// kind TooMany if no descriptor is left, or the cause of ctx if that was cancelled.
func (u *Dialer) Dial(ctx context.Context, host string, port int) (conn net.Conn, err error) {
	target := net.JoinHostPort(host, strconv.Itoa(port))
	dial := func() (net.Conn, error) {
		conn, err := u.dial(ctx, host, port)
		switch {
		case err == nil:
			return conn, nil
		case errors.Is(ctx.Err(), context.Canceled):
			return nil, fmt.Errorf("%v: %w", err, context.Cause(ctx))
		}
		return nil, dialError(err, host, port)
	}
	if u.Breaker == nil {
		conn, err = dial()
	} else {
		conn, err = u.Breaker.dial(target, dial)
	}
	if _, failed := unreachable(err); failed && (u.Host == "" || u.Port == 0) {
		return nil, secrets.MarkWrongEndpoint(err)
	}
	return conn, err
}

func (u *Dialer) dial(ctx context.Context, host string, port int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, u.DialTimeout)
	defer cancel()
	addrs, err := cmp.Or(u.resolver, net.DefaultResolver).LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	return race(ctx, addrs, func(ctx context.Context, addr net.IPAddr) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(port)))
	})
}

// dialError tells the ways apart in which a dial fails.
func dialError(err error, host string, port int) *fault.Error {
	e := &fault.Error{Kind: fault.Unreachable, Err: err}
	at := fmt.Sprintf("the database at %s port %d", host, port)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case noDescriptor(err):
		e.Kind, e.Message = fault.TooMany, "too many connections: credproxy may open no more files"
		e.Hint = "Raise the limit of open files (ulimit -n, LimitNOFILE=): a session takes two. Or lower limits.max_connections."
	case isDNS && dns.IsNotFound:
		e.Message, e.Hint = fmt.Sprintf("the database's host %q has no address", host), "Check host for a typing error, and the name servers of this machine."
	case isDNS:
		e.Message, e.Hint = fmt.Sprintf("the database's host %q cannot be looked up", host), "Check the name servers of this machine."
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Message, e.Hint = at+" refuses connections", "Is it running, and is this its port?"
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		e.Message, e.Hint = at+" does not answer", "Check security groups, routes and that the database is running."
	default:
		e.Message, e.Hint = at+" cannot be reached", "Check the network between credproxy and the database."
	}
	return e
}

// noDescriptor reports whether the process or the system has as many files open as it
// may. It looks at the text, which is all that net.DNSError keeps of the cause.
func noDescriptor(err error) bool {
	text := err.Error()
	return strings.Contains(text, syscall.EMFILE.Error()) || strings.Contains(text, syscall.ENFILE.Error())
}

// BreakOff makes the end of ctx break off what waits on conn. Call stop when conn
// outlives ctx.
func BreakOff(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(relay.Past) })
}

// Handshake starts TLS on conn, to a server known as host, as the mode demands.
// It must not be called in mode disable. The error is a *fault.Error of kind
// UpstreamTLS.
func (u *Dialer) Handshake(ctx context.Context, conn net.Conn, host string) (*tls.Conn, error) {
	cfg := u.config(host)
	tc := tls.Client(relay.NewRecordConn(conn, nil), cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, tlsError(err, cfg.ServerName)
	}
	if cfg.CurvePreferences == nil && tc.ConnectionState().HelloRetryRequest {
		cfg = cfg.Clone()
		cfg.CurvePreferences = nistCurves
		u.last.Store(cfg)
	}
	return tc, nil
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

func (u *Dialer) config(host string) *tls.Config {
	name := cmp.Or(u.ServerName, host)
	if cfg := u.last.Load(); cfg != nil && cfg.ServerName == name {
		return cfg
	}
	cfg := u.TLS.Clone()
	cfg.MinVersion = tls.VersionTLS12
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
			_, err := cs.PeerCertificates[0].Verify(opts)
			return err
		}
	case config.Require:
		cfg.InsecureSkipVerify = true
	}
	u.last.Store(cfg)
	return cfg
}

// tlsError tells the ways apart in which a handshake fails.
func tlsError(err error, name string) error {
	e := &fault.Error{Kind: fault.UpstreamTLS, Err: err}
	cert := "the certificate"
	if v, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(v.UnverifiedCertificates) > 0 {
		cert = fmt.Sprintf("the certificate (subject %q)", v.UnverifiedCertificates[0].Subject)
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case unknown:
		e.Message = cert + " of the database is signed by an authority that credproxy does not know"
		e.Hint = "Set tls.ca_file to the authority's certificate. Certificates of RDS and Aurora are known without it."
	case host:
		e.Message = fmt.Sprintf("%s of the database is not for the name %q", cert, name)
		e.Hint = "Set host to the endpoint that RDS shows, or tls.server_name to the name in the certificate."
	case isInvalid && invalid.Reason == x509.Expired:
		e.Message = cert + " of the database has expired or is not valid yet"
		e.Hint = "Renew the database's certificate, and check this machine's clock."
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		e.Message, e.Hint = "the TLS handshake with the database took too long", "Is the database overloaded?"
	default:
		e.Message, e.Hint = "the TLS handshake with the database failed", "The log of credproxy has the details."
	}
	return e
}
