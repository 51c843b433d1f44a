package proxytest

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
)

// OneServer is a [topology.Engine], and the session of its only server, the scripted one: the
// writer, unless Demoted.
type OneServer struct {
	Upstream *upstream.Dialer // of the rig's engine
	Demoted  atomic.Bool
}

// Name implements [topology.Engine].
func (o *OneServer) Name(*secrets.Credential) (topology.Place, error) {
	return topology.Place{Host: o.Upstream.Host, Port: o.Upstream.Port}, nil
}

// Open implements [topology.Engine].
func (o *OneServer) Open(context.Context, *secrets.Credential, string, topology.Route) (topology.Conn, error) {
	return o, nil
}

// Role implements [topology.Conn].
func (o *OneServer) Role(context.Context) (topology.Role, string, error) {
	if o.Demoted.Load() {
		return topology.Reader, "", nil
	}
	return topology.Writer, "", nil
}

// Ask implements [topology.Conn].
func (o *OneServer) Ask(context.Context, topology.Place, ...topology.Place) (topology.Answer, error) {
	return topology.Answer{}, nil
}

// RemoteAddr implements [topology.Conn].
func (o *OneServer) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(o.Upstream.Host), uint16(o.Upstream.Port)))
}

// Close implements [topology.Conn].
func (o *OneServer) Close() error { return nil }

// Watch has servers watched through o, at the place of the engine's dialer, until the test
// ends.
func (o *OneServer) Watch(t testing.TB, servers *topology.Servers, at *upstream.Dialer) {
	o.Upstream = at
	servers.SetEngine(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		servers.Run(ctx, OneCredential{})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

// ServerOptions are those of servers that nobody hears of.
func ServerOptions(role topology.Role) topology.Options {
	return topology.Options{Role: role, Monitor: 100 * time.Millisecond, LoginTimeout: time.Second, Log: zap.NewNop(),
		Database: func(*secrets.Credential) string { return "" }, Changed: func(time.Duration) {}, Left: func() {}, Found: func() {},
		End: func(error, bool, func(net.Addr, time.Time) bool) {}}
}
