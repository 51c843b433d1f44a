package integration_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
)

// tap stands between credproxy and a server, passes everything on and keeps what
// came from credproxy.
type tap struct {
	ln     net.Listener
	target string

	mu    sync.Mutex
	heard bytes.Buffer
	conns []net.Conn
	wg    sync.WaitGroup
}

// startTap forwards what arrives at ln, which it owns, to target.
func startTap(t testing.TB, ln net.Listener, target string) *tap {
	p := &tap{ln: ln, target: target}
	p.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			p.keep(conn)
			p.wg.Go(func() { p.forward(conn) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		for _, conn := range p.conns {
			_ = conn.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *tap) keep(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, conn)
}

func (p *tap) forward(conn net.Conn) {
	defer conn.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	p.keep(server)
	p.wg.Go(func() {
		_, _ = io.Copy(conn, server)
		_ = conn.Close()
	})
	_, _ = io.Copy(server, io.TeeReader(conn, p))
}

// Write keeps what credproxy sent.
func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard.Write(b)
}

func (p *tap) port() int { return p.ln.Addr().(*net.TCPAddr).Port }

// sent is all that credproxy has sent so far.
func (p *tap) sent() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.heard.Bytes())
}

// freePort is a port that nobody listens on: see [servers.FreePort].
func freePort(t testing.TB) (port int) {
	t.Helper()
	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func listenLocal(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}
