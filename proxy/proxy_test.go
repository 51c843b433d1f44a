package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type silentObserver struct{ ended sync.Map }

func (o *silentObserver) SessionEnded(k fault.Kind, _ string) {
	n, _ := o.ended.LoadOrStore(k, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}
func (o *silentObserver) count(k fault.Kind) int64 {
	n, ok := o.ended.Load(k)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}
func (*silentObserver) LoginPhase(string, time.Duration) {}
func (*silentObserver) CancelRequest(string)             {}

// engineFunc is an engine in one function.
type engineFunc func(ctx context.Context, s *Session) error

func (f engineFunc) Serve(ctx context.Context, s *Session) (*Legs, error) { return nil, f(ctx, s) }

func until(t *testing.T, cond func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// pair returns two ends of a TCP connection.
func pair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

// legsFunc is an engine that relays.
type legsFunc func(ctx context.Context, s *Session) (*Legs, error)

func (f legsFunc) Serve(ctx context.Context, s *Session) (*Legs, error) { return f(ctx, s) }

// relayNow relays until both directions have ended.
func relayNow(client, upstream Leg, total *Traffic) Outcome {
	out := make(chan Outcome)
	Relay(client, upstream, total, func(o Outcome) { out <- o })
	return <-out
}

// relayed returns an application and a database with a relay between them.
func relayed(t testing.TB, fromClient, fromDatabase []byte, scan func([]byte) (int, bool)) (app, database net.Conn, done <-chan Outcome) {
	app, client := pair(t)
	upstream, database := pair(t)
	out := make(chan Outcome, 1)
	go func() {
		var total Traffic
		out <- relayNow(Leg{Conn: client, Buffered: fromClient, Scan: scan}, Leg{Conn: upstream, Buffered: fromDatabase}, &total)
		_ = client.Close()
		_ = upstream.Close()
	}()
	return app, database, out
}

func TestRelayBothWaysWithHalfClose(t *testing.T) {
	app, database, done := relayed(t, []byte("early "), []byte("hello "), nil)
	big := bytes.Repeat([]byte("x"), 1<<20)
	go func() {
		_, _ = app.Write(big)
		_ = app.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(database); err != nil || string(got) != "early "+string(big) {
		t.Errorf("the database got %d bytes, %v", len(got), err)
	}
	// The application has ended its side; the answer still gets through.
	_, _ = database.Write(big)
	_ = database.Close()
	if got, err := io.ReadAll(app); err != nil || string(got) != "hello "+string(big) {
		t.Errorf("the application got %d bytes, %v", len(got), err)
	}
	out := <-done
	if out.Err != nil || out.ToUpstream != int64(len(big)+6) || out.ToClient != int64(len(big)+6) {
		t.Errorf("outcome %+v", out)
	}
}

func TestRelayStopsWhereScanSays(t *testing.T) {
	// Everything up to an exclamation mark passes, but never a byte alone at the
	// end, which is shown again with what follows.
	scan := func(b []byte) (int, bool) {
		if i := bytes.IndexByte(b, '!'); i >= 0 {
			return i, true
		}
		return max(0, len(b)-1), false
	}
	app, client := pair(t)
	upstream, database := pair(t)
	var total Traffic
	for range 3 {
		out := make(chan Outcome, 1)
		go func() {
			out <- relayNow(Leg{Conn: client, Scan: scan}, Leg{Conn: upstream}, &total)
		}()
		for _, b := range []byte("hello") {
			_, _ = app.Write([]byte{b})
		}
		_, _ = app.Write([]byte(" there! held"))
		got := make([]byte, len("hello there"))
		if _, err := io.ReadFull(database, got); err != nil || string(got) != "hello there" {
			t.Fatalf("the database got %q, %v", got, err)
		}
		if o := <-out; string(o.Held) != "! held" || o.Err != nil {
			t.Fatalf("outcome %+v, held %q", o, o.Held)
		}
		// Both connections still work.
		_, _ = io.WriteString(database, "answer")
		got = make([]byte, 6)
		if _, err := io.ReadFull(upstream, got); err != nil || string(got) != "answer" {
			t.Fatalf("answer %q, %v", got, err)
		}
	}
}

func TestRelayEndsWhenTheClientIsReset(t *testing.T) {
	app, database, done := relayed(t, nil, nil, nil)
	_ = app.(*net.TCPConn).SetLinger(0)
	_ = app.Close()
	out := <-done
	if out.Err == nil || !strings.Contains(out.Err.Error(), "connection to the client lost") {
		t.Errorf("outcome %+v", out)
	}
	if _, err := database.Read(make([]byte, 1)); err == nil {
		t.Error("the database's connection is still open")
	}
}

func TestRelayEndsWhenTheDatabaseCloses(t *testing.T) {
	app, database, done := relayed(t, nil, nil, nil)
	_, _ = io.WriteString(database, "goodbye")
	_ = database.Close()
	if got, err := io.ReadAll(app); err != nil || string(got) != "goodbye" {
		t.Errorf("the application got %q, %v", got, err)
	}
	_ = app.Close() // within the linger time
	if out := <-done; out.Err != nil {
		t.Errorf("outcome %+v", out)
	}
}

func TestRelayEndsWhenTheDatabaseStopsReadingAndSending(t *testing.T) {
	app, database, done := relayed(t, nil, nil, nil)
	go func() { // until the buffers are full and the copier waits for the database
		for {
			if _, err := app.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}()
	_ = database.(*net.TCPConn).CloseWrite()
	_, _ = io.ReadAll(app)
	_ = app.Close()
	select {
	case <-done:
	case <-time.After(4 * lingerTimeout):
		t.Error("the relay hangs")
	}
}

func TestRelayTellsALostDatabase(t *testing.T) {
	app, database, done := relayed(t, nil, nil, nil)
	_ = database.(*net.TCPConn).SetLinger(0)
	_ = database.Close()
	_, _ = io.ReadAll(app)
	_ = app.Close()
	if out := <-done; out.Err == nil || !strings.Contains(out.Err.Error(), "connection to the database lost") {
		t.Errorf("outcome %+v", out)
	}
}

func TestWithClientNoticesALeavingClientAndKeepsWhatOneSends(t *testing.T) {
	app, client := pair(t)
	r := bufio.NewReader(client)
	ctx, stop := WithClient(t.Context(), client, r)
	_, _ = io.WriteString(app, "early")
	stop()
	got := make([]byte, 5)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "early" {
		t.Fatalf("read %q, %v", got, err)
	}
	if ctx.Err() == nil {
		t.Error("the context lives on after stop")
	}
	ctx, stop = WithClient(t.Context(), client, r)
	defer stop()
	_ = app.Close()
	<-ctx.Done()
	if e := fault.As(context.Cause(ctx)); e.Kind != fault.ClientGone {
		t.Errorf("%+v", e)
	}
}

// failingListener fails with EMFILE a few times, then accepts.
type failingListener struct {
	Listener
	failures atomic.Int32
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func newServer(engine engineFunc) (*Server, *silentObserver) {
	o := &silentObserver{}
	return &Server{Engine: engine, Log: zap.NewNop(), Observer: o,
		Limits: Limits{MaxConnections: 2, LoginTimeout: 10 * time.Second}}, o
}

func TestServerSurvivesEMFILEAndPanics(t *testing.T) {
	s, o := newServer(func(_ context.Context, s *Session) error {
		b := make([]byte, 1)
		_, _ = s.Client.Read(b)
		if b[0] == 'p' {
			panic("a defect")
		}
		_, _ = s.Client.Write([]byte("fine"))
		return nil
	})
	tcp := listen(t)
	ln := &failingListener{Listener: tcp}
	ln.failures.Store(5)
	ctx, cancel := context.WithCancel(t.Context())
	s.Go(ctx, t.Context(), ln)
	for _, say := range []string{"p", "x", "p", "x"} {
		c, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, say)
		got, _ := io.ReadAll(c)
		if say == "x" && string(got) != "fine" {
			t.Errorf("got %q", got)
		}
		_ = c.Close()
	}
	until(t, func() bool { return o.count(fault.Internal) == 2 }, "two panics counted")
	cancel()
	s.Wait()
}

// A defect that shows while a session is relayed, one way or the other, ends that
// session alone.
func TestAPanicEndsOneRelay(t *testing.T) {
	s, o := newServer(nil)
	s.Limits.MaxConnections = 3
	var closed atomic.Int32
	s.Engine = legsFunc(func(_ context.Context, s *Session) (*Legs, error) {
		upstream, database := pair(t)
		go func() { _, _ = io.Copy(database, database); _ = database.Close() }()
		scan := func(b []byte) (int, bool) {
			if bytes.Contains(b, []byte("p")) {
				panic("a defect")
			}
			return len(b), false
		}
		return &Legs{Client: Leg{Conn: fragile{s.Client}, Scan: scan}, Upstream: Leg{Conn: upstream}, Then: func(held []byte) (*Legs, error) {
			if held != nil {
				t.Errorf("held %q", held)
			}
			closed.Add(1)
			return nil, upstream.Close()
		}}, nil
	})
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.Go(ctx, t.Context(), ln)
	for _, say := range []string{"p", "w", "x"} {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(c, say)
		if say == "x" {
			_ = c.(*net.TCPConn).CloseWrite()
		}
		if got, err := io.ReadAll(c); err != nil || say == "x" && string(got) != "x" {
			t.Errorf("%s: got %q, %v", say, got, err)
		}
	}
	cancel()
	s.Wait()
	if closed.Load() != 3 || o.count(fault.Internal) != 2 || o.count(fault.OK) != 1 {
		t.Errorf("%d ended, %d of them for a defect, %d in order", closed.Load(), o.count(fault.Internal), o.count(fault.OK))
	}
}

// fragile has a defect when a "w" is written.
type fragile struct{ net.Conn }

func (f fragile) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("w")) {
		panic("a defect")
	}
	return f.Conn.Write(b)
}

// TestServersHandOverAListener has clients connect all the time while one server
// after the other accepts them.
func TestServersHandOverAListener(t *testing.T) {
	ln := listen(t)
	first := make(chan net.Conn, 1)
	go func() {
		defer close(first)
		for range 300 {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			if got, err := io.ReadAll(c); string(got) != "hello" {
				t.Errorf("got %q, %v", got, err)
			}
			_ = c.Close()
		}
	}()
	var served, servers int
	for done := false; !done; servers++ {
		var here atomic.Int32
		s, _ := newServer(func(_ context.Context, s *Session) error {
			here.Add(1)
			_, err := io.WriteString(s.Client, "hello")
			return err
		})
		s.Limits.MaxConnections = 1000
		stop := s.Go(t.Context(), t.Context(), ln)
		select {
		case <-first:
			done = true
		case <-time.After(time.Millisecond):
		}
		stop()
		s.Wait()
		served += int(here.Load())
	}
	if served != 300 || servers < 2 {
		t.Errorf("%d clients were served by %d servers", served, servers)
	}
}

// listen listens on a free port until the test's end.
func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestServerLimitsWhoHasNotAskedYet(t *testing.T) {
	release := make(chan struct{})
	s, o := newServer(func(_ context.Context, s *Session) error { <-release; return nil })
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.Go(ctx, t.Context(), ln)
	for range lobby + 2 + 5 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	until(t, func() bool { return o.count(fault.TooMany) == 5 }, "five connections closed unheard")
	close(release)
	cancel()
	s.Wait()
}

func TestEndingSessionsClosesTheirConnections(t *testing.T) {
	s, _ := newServer(func(_ context.Context, s *Session) error {
		_, err := s.Client.Read(make([]byte, 1))
		return err
	})
	ln := listen(t)
	accepting, stop := context.WithCancel(t.Context())
	sessions, end := context.WithCancel(t.Context())
	s.Go(accepting, sessions, ln)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	until(t, func() bool { return s.conns.Load() == 1 }, "the session")
	stop()
	end()
	s.Wait()
}

func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "folder", ".s.PGSQL.5432")
	ln, err := Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("folder %v, %v", info.Mode(), err)
	}
	if ln.Addr().String() != path {
		t.Errorf("address %s", ln.Addr())
	}
	if _, err := Listen(t.Context(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("second listener: %v", err)
	}
	_ = ln.(*unixListener).UnixListener.Close() // as if the process had died
	again, err := Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	go func() {
		if c, err := again.Accept(); err == nil {
			_ = c.Close()
		}
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = again.Close()
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for addr, want := range map[string]string{
		"unix:" + file: "not a socket",
		"unix:/" + strings.Repeat("x", maxSocketPath):    "103 bytes",
		"unix:" + dir + "/" + strings.Repeat("y", 103-6): "bytes",
		busy.Addr().String():                             "in use",
		"127.0.0.1:99999":                                "listen on 127.0.0.1:99999",
	} {
		if ln, err := Listen(t.Context(), addr); err == nil || !strings.Contains(err.Error(), want) {
			if ln != nil {
				_ = ln.Close()
			}
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "x" {
		t.Errorf("the file in the way: %q, %v", b, err)
	}
}

func TestDialErrors(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := refusing.Addr().(*net.TCPAddr).Port
	_ = refusing.Close()
	u := &Upstream{DialTimeout: 5 * time.Second, DefaultPort: port}
	for host, want := range map[string]string{"127.0.0.1": "refuses connections", "no-such-host.invalid": "no-such-host.invalid"} {
		_, err := u.Dial(t.Context(), host, port)
		e, ok := errors.AsType[*fault.Error](err)
		if !ok || e.Kind != fault.Unreachable || !strings.Contains(e.Message, want) || e.Hint == "" {
			t.Errorf("%s: %+v", host, err)
		}
	}
	if _, _, err := u.Target(secrets.NewCredential("a", "b")); fault.As(err).Kind != fault.SecretProblem {
		t.Errorf("no host: %v", err)
	}
}

func TestTargetPrefersTheConfiguration(t *testing.T) {
	cred := secrets.NewCredential("a", "b")
	cred.Endpoint = secrets.Endpoint{Host: "secret", Port: 1}
	for _, tt := range []struct {
		u    *Upstream
		want string
	}{
		{&Upstream{DefaultPort: 5432}, "secret:1"},
		{&Upstream{Host: "conf", DefaultPort: 5432}, "conf:1"},
		{&Upstream{Host: "conf", Port: 2, DefaultPort: 5432}, "conf:2"},
	} {
		host, port, err := tt.u.Target(cred)
		if got := fmt.Sprintf("%s:%d", host, port); got != tt.want || err != nil {
			t.Errorf("%s (%v), want %s", got, err, tt.want)
		}
	}
}

func TestEveryFailureHasAMessageAndAHint(t *testing.T) {
	for _, err := range []error{
		secrets.Errorf(secrets.NotFound, "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x"),
		secrets.Errorf(secrets.NoVersion, "x"), secrets.Errorf(secrets.Denied, "x"),
		secrets.Errorf(secrets.Malformed, "x"), secrets.Errorf(secrets.Unavailable, "x"),
		context.DeadlineExceeded, os.ErrDeadlineExceeded, context.Canceled, net.ErrClosed, errors.New("what is this"),
		fmt.Errorf("wrapped: %w", secrets.Errorf(secrets.Denied, "x")),
	} {
		e := fault.As(err)
		if e.Kind == "" || e.Message == "" || e.Hint == "" || !errors.Is(e, err) && errors.Unwrap(err) == nil {
			t.Errorf("%v: %+v", err, e)
		}
		if strings.Contains(e.Message+e.Hint, "123456789012") {
			t.Errorf("the account shows: %+v", e)
		}
	}
}

// serverCert makes a self-signed certificate for names.
func serverCert(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestHandshakeVerifiesWhatTheModeSays(t *testing.T) {
	cert := serverCert(t, "db.example")
	known := x509.NewCertPool()
	known.AddCert(cert.Leaf)
	tests := []struct {
		mode       TLSMode
		host, name string
		roots      *x509.CertPool
		fails      string
	}{
		{VerifyFull, "db.example", "", known, ""},
		{VerifyFull, "other.example", "db.example", known, ""},
		{VerifyFull, "other.example", "", known, `not for the name "other.example"`},
		{VerifyFull, "127.0.0.1", "", known, "not for the name"},
		{VerifyFull, "db.example", "", x509.NewCertPool(), "authority that credproxy does not know"},
		{VerifyCA, "other.example", "", known, ""},
		{VerifyCA, "db.example", "", x509.NewCertPool(), "authority that credproxy does not know"},
		{Require, "other.example", "", x509.NewCertPool(), ""},
	}
	for _, tt := range tests {
		client, server := pair(t)
		go func() {
			s := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}})
			_ = s.Handshake()
		}()
		u := &Upstream{Mode: tt.mode, ServerName: tt.name, TLS: &tls.Config{RootCAs: tt.roots}}
		_, err := u.Handshake(t.Context(), client, tt.host)
		if tt.fails == "" {
			if err != nil {
				t.Errorf("%s %s: %v", tt.mode, tt.host, err)
			}
			continue
		}
		e := fault.As(err)
		if err == nil || e.Kind != fault.UpstreamTLS || !strings.Contains(e.Message, tt.fails) || e.Hint == "" {
			t.Errorf("%s %s: %+v, want %q", tt.mode, tt.host, err, tt.fails)
		}
	}
}

// TestDrainClosesSilentClients has one client connect before the drain begins and
// one after, as one does that the kernel had queued: neither asks for anything,
// and neither holds up the end.
func TestDrainClosesSilentClients(t *testing.T) {
	silent := engineFunc(func(_ context.Context, s *Session) error {
		_, err := s.Client.Read(make([]byte, 1))
		return err
	})
	s := &Server{Engine: silent, Limits: Limits{MaxConnections: 10, LoginTimeout: time.Hour}, Log: zap.NewNop(), Observer: nopObserver{}}
	ln := listen(t)
	ctx, stop := context.WithCancel(t.Context())
	s.Go(ctx, context.WithoutCancel(ctx), ln)
	var clients []net.Conn
	for i := range 2 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
		if i == 0 {
			s.Drain()
		}
	}
	for _, c := range clients {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a silent client is still there")
		}
	}
	stop()
	s.Wait()
}

type nopObserver struct{}

func (nopObserver) SessionEnded(fault.Kind, string)  {}
func (nopObserver) LoginPhase(string, time.Duration) {}
func (nopObserver) CancelRequest(string)             {}
