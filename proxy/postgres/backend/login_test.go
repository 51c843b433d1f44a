package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// TestLoginDoneTooLate has the context end when the database has just said yes: the
// connection then has, or will have, a deadline that is past, and is no session's.
func TestLoginDoneTooLate(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ended := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			ended <- err
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		_, _ = wire.ReadPacket(r)
		_, _ = io.WriteString(c, frame('R', "\x00\x00\x00\x00"))
		_, err = io.Copy(io.Discard, r)
		ended <- err
	}()
	ctx, cancel := context.WithCancelCause(t.Context())
	left := errors.New("the client left")
	p := Params{
		Dialer: &upstream.Dialer{Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port, LookupTimeout: time.Second, DialTimeout: time.Second,
			Mode: config.Disable, TLS: &tls.Config{}},
		Startup: wire.Startup{Version: wire.ProtocolMajor << 16},
		Phase: func(name string, _ time.Time, _ ...zap.Field) {
			if name == "auth" { // the last
				cancel(left)
			}
		},
	}
	c, err := Login(ctx, p, secrets.NewCredential("app", "x"))
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, left) {
		t.Errorf("logged in, and: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the connection is not closed: %v", err)
	}
}
