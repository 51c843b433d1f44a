package postgres

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// password is what no test may find anywhere but in a login to the database.
const password = "planted-secret-7d1"

// oneCredential offers the same credential to every login, once.
type oneCredential struct{}

func (oneCredential) Login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error {
	c := secrets.NewCredential("app", password)
	c.VersionID = "v1"
	return try(ctx, c)
}

// counts is an observer that remembers.
type counts struct {
	mu    sync.Mutex
	ended map[proxy.Kind]int
}

func (c *counts) SessionEnded(k proxy.Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.ended = map[proxy.Kind]int{}
	}
	c.ended[k]++
}
func (c *counts) LoginPhase(string, time.Duration) {}
func (c *counts) CancelRequest(string)             {}

func (c *counts) of(k proxy.Kind) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended[k]
}

// rig is an engine at work in front of a scripted database.
type rig struct {
	addr   string // of the listener
	counts counts
	logs   *observer.ObservedLogs
	server *proxy.Server
}

// newRig starts an engine whose database runs script on each connection, after
// it has read the startup packet. The connection is closed after script.
func newRig(t *testing.T, configure func(*Engine), script func(c *peer)) *rig {
	t.Helper()
	upstream := listen(t)
	var scripts sync.WaitGroup
	scripts.Go(func() {
		for {
			c, err := upstream.Accept()
			if err != nil {
				return
			}
			scripts.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				script(&peer{Conn: c, r: bufio.NewReader(c), t: t})
			})
		}
	})
	addr := upstream.Addr().(*net.TCPAddr)
	core, logs := observer.New(zapcore.DebugLevel)
	e := &Engine{Credentials: oneCredential{}, Upstream: &proxy.Upstream{
		Host: "127.0.0.1", Port: addr.Port, DialTimeout: 5 * time.Second, Mode: proxy.Disable, TLS: &tls.Config{},
	}}
	if configure != nil {
		configure(e)
	}
	r := &rig{logs: logs}
	r.server = &proxy.Server{Name: "test", Engine: e, Log: zap.New(core), Observer: &r.counts,
		Limits: proxy.Limits{MaxConnections: 50, LoginTimeout: 3 * time.Second}}
	ln := listen(t)
	r.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	r.server.Go(ctx, ctx, ln)
	t.Cleanup(func() {
		cancel()
		r.server.Wait()
		_ = upstream.Close()
		scripts.Wait()
		for _, e := range logs.All() {
			for _, f := range e.Context {
				if strings.Contains(f.String, password) {
					t.Errorf("the password is in the log: %v", e)
				}
			}
		}
	})
	return r
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// peer is one end of a scripted conversation, of either side.
type peer struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

func (r *rig) connect(t *testing.T) *peer {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &peer{Conn: c, r: bufio.NewReader(c), t: t}
}

func (p *peer) send(s string) { _, _ = io.WriteString(p, s) }

// startup sends a startup packet of protocol 3.0 with user and the pairs given.
func (p *peer) startup(pairs ...string) {
	s := startup{version: 3 << 16, params: []param{{"user", "anybody"}}}
	for i := 0; i+1 < len(pairs); i += 2 {
		s.params = append(s.params, param{pairs[i], pairs[i+1]})
	}
	_, _ = p.Write(s.encode())
}

// message frames a body as a message of the protocol.
func frame(kind byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))) + body
}

// packet reads one packet without a type byte.
func (p *peer) packet() []byte {
	b, err := readPacket(p.r)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return b
}

// message reads one message; a nil message is the end of the connection.
func (p *peer) message() (kind byte, body []byte) {
	m, err := readMessage(p.r)
	if err != nil {
		return 0, nil
	}
	return m.kind(), m.body()
}

// fatal reads on to an ErrorResponse, which must be the last message.
func (p *peer) fatal() pgproto3.ErrorResponse {
	p.t.Helper()
	var e pgproto3.ErrorResponse
	kind, body := p.message()
	if kind != 'E' {
		p.t.Fatalf("got message %q %q, want an error", kind, body)
	}
	if err := e.Decode(body); err != nil {
		p.t.Fatal(err)
	}
	if kind, body := p.message(); kind != 0 {
		p.t.Errorf("message %q %q after the error", kind, body)
	}
	return e
}

const (
	authOK      = "R\x00\x00\x00\x08\x00\x00\x00\x00"
	readyIdle   = "Z\x00\x00\x00\x05I"
	askClear    = "R\x00\x00\x00\x08\x00\x00\x00\x03"
	askKerberos = "R\x00\x00\x00\x08\x00\x00\x00\x02"
)
