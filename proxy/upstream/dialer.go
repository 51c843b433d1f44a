package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/tracing"
)

// Dialer is where a database is and how to get there safely.
type Dialer struct {
	Host          string        // empty: the secret's
	Port          int           // 0: the secret's, else DefaultPort
	DefaultPort   int           // of the engine
	LookupTimeout time.Duration // for the host's addresses
	DialTimeout   time.Duration // for all addresses of the host together
	ServerTimeout time.Duration // a connection on which nothing comes back for this long is dead; 0: the system decides
	Mode          config.TLSMode
	ServerName    string      // the name to verify; empty: the host
	TLS           *tls.Config // roots and client certificate, until Renew gives others; mode and name are applied to a copy at the first handshake
	Breaker       *Breaker    // in front of the database; nil: none
	Log           *zap.Logger // nil: none

	AllowUnverifiedPassword bool // tls.allow_unverified_password

	pinned     netip.AddrPort             // dialled in place of the host's addresses; invalid: none
	of         *Dialer                    // the one that At was called on; nil: none
	fromSecret bool                       // that one's place is the secret's
	resolver   *net.Resolver              // nil: the system's
	renewed    atomic.Pointer[tls.Config] // by Renew; nil: not yet
	last       atomic.Pointer[applied]    // the one in use; sessions share it
	known      lookups                    // of the one that all At came from
}

// Encrypts reports whether links are to be encrypted: all but in mode disable.
func (u *Dialer) Encrypts() bool { return u.Mode != config.Disable }

// Link returns what is known of a connection that was dialled here: whether it is
// inside TLS that [Dialer.Handshake] started, and whether the far end has proved to be
// the database.
func (u *Dialer) Link(conn net.Conn) secrets.Link {
	l := secrets.Link{Protection: secrets.Encrypted, PasswordAllowed: u.AllowUnverifiedPassword}
	tc, ok := conn.(*tls.Conn)
	switch {
	case !ok || !tc.ConnectionState().HandshakeComplete:
		l.Protection = secrets.NotEncrypted
	case u.Mode == config.VerifyFull || u.Mode == config.VerifyCA:
		l.Protection = secrets.Verified
	}
	return l
}

// At returns a dialer for another server of the same database, whatever the credential
// says of the place. addr, if it is valid, is dialled in place of the addresses that host
// has by now. Certificates, those of Renew too, the name to verify if there is one, and the
// limits are u's, and so are the addresses that were found last: they serve while name servers do
// not answer. It has no breaker.
func (u *Dialer) At(host string, port int, addr netip.AddrPort) *Dialer {
	return &Dialer{
		Host: host, Port: port, LookupTimeout: u.LookupTimeout, DialTimeout: u.DialTimeout, ServerTimeout: u.ServerTimeout,
		Mode: u.Mode, ServerName: u.ServerName, Log: u.Log, AllowUnverifiedPassword: u.AllowUnverifiedPassword,
		resolver: u.resolver, pinned: addr, of: u, fromSecret: u.followsSecret(),
	}
}

// first returns the dialer that At was called on first.
func (u *Dialer) first() *Dialer {
	for u.of != nil {
		u = u.of
	}
	return u
}

// followsSecret reports whether the secret says where the database is.
func (u *Dialer) followsSecret() bool { return u.fromSecret || u.Host == "" || u.Port == 0 }

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

// DialFor dials where cred, or else the configuration, says that the database is, and
// tells phase of it. It returns what was dialled; the errors are those of Target and Dial.
func (u *Dialer) DialFor(ctx context.Context, cred *secrets.Credential, phase Phase) (conn net.Conn, host string, port int, err error) {
	if host, port, err = u.Target(cred); err != nil {
		return nil, "", 0, err
	}
	start := time.Now()
	ctx, span := tracing.Start(ctx, "dial")
	for _, s := range []tracing.Span{span, tracing.Of(ctx)} { // the login tells of its last attempt
		s.Text("server.address", host)
		s.Number("server.port", int64(port))
	}
	conn, err = u.Dial(ctx, host, port)
	if span.On() && err == nil {
		host, port, _ := net.SplitHostPort(conn.RemoteAddr().String())
		number, _ := strconv.ParseInt(port, 10, 32)
		span.Text("network.peer.address", host)
		span.Number("network.peer.port", number)
	}
	if span.End(err); err != nil {
		return nil, "", 0, err
	}
	phase("dial", start, zap.Stringer("upstream", conn.RemoteAddr()), zap.String("version", cred.ShortVersion()))
	return conn, host, port, nil
}

// Dial opens a TCP connection. The name is resolved anew; its last known addresses serve
// while name servers do not answer. The addresses, IPv6 and IPv4, race each other (RFC 8305): one that says nothing holds up no login. At most
// 32 are tried. While the Breaker is open nothing is tried. The error is a *fault.Error of
// kind Unreachable, marked as secrets.MarkWrongEndpoint if the secret named the place, or that of
// the dialer that [Dialer.At] was called on, or of
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
	if _, failed := unreachable(err); failed && u.followsSecret() {
		return nil, secrets.MarkWrongEndpoint(err)
	}
	return conn, err
}

func (u *Dialer) dial(ctx context.Context, host string, port int) (net.Conn, error) {
	if u.pinned.IsValid() {
		ctx, cancel := context.WithTimeout(ctx, u.DialTimeout)
		defer cancel()
		return u.dialer().DialContext(ctx, "tcp", u.pinned.String())
	}
	addrs, err := u.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, u.DialTimeout)
	defer cancel()
	return race(ctx, addrs, func(ctx context.Context, addr net.IPAddr) (net.Conn, error) {
		return u.dialer().DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(port)))
	})
}
