package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/proxy/relay"
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

// legsFunc is an engine that relays.
type legsFunc func(ctx context.Context, s *Session) (*Legs, error)

func (f legsFunc) Serve(ctx context.Context, s *Session) (*Legs, error) { return f(ctx, s) }

func TestWithClientNoticesALeavingClientAndKeepsWhatOneSends(t *testing.T) {
	app, client := nettest.Pair(t)
	r := bufio.NewReader(client)
	ctx, stop := CancelOnClientClose(t.Context(), client, r)
	_, _ = io.WriteString(app, "early")
	stop()
	got := make([]byte, 5)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "early" {
		t.Fatalf("read %q, %v", got, err)
	}
	if ctx.Err() == nil {
		t.Error("the context lives on after stop")
	}
	ctx, stop = CancelOnClientClose(t.Context(), client, r)
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
	s.Serve(ctx, t.Context(), ln)
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
	nettest.Until(t, func() bool { return o.count(fault.Internal) == 2 }, "two panics counted")
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
		upstream, database := nettest.Pair(t)
		go func() { _, _ = io.Copy(database, database); _ = database.Close() }()
		scan := func(b []byte) (int, bool) {
			if bytes.Contains(b, []byte("p")) {
				panic("a defect")
			}
			return len(b), false
		}
		return &Legs{Client: relay.Leg{Conn: fragile{s.Client}, Scan: scan}, Upstream: relay.Leg{Conn: upstream}, Next: func(held []byte) (*Legs, error) {
			if held != nil {
				t.Errorf("held %q", held)
			}
			closed.Add(1)
			return nil, upstream.Close()
		}}, nil
	})
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.Serve(ctx, t.Context(), ln)
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
		stop := s.Serve(t.Context(), t.Context(), ln)
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
	s.Limits.MaxConnections = 100
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.Serve(ctx, t.Context(), ln)
	var conns []net.Conn
	for range 2*lobby + s.Limits.MaxConnections {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	nettest.Until(t, func() bool { return s.conns.Load() == int64(len(conns)) }, "all to be accepted")
	// Those that have waited longest were closed for the later ones, and as many kept as
	// there is room for: they may be a burst of clients who are about to ask.
	for i, c := range conns {
		gone := i < len(conns)-lobby-s.Limits.MaxConnections
		_ = c.SetReadDeadline(time.Now().Add(map[bool]time.Duration{true: 10 * time.Second, false: time.Millisecond}[gone]))
		if _, err := c.Read(make([]byte, 1)); (err == io.EOF) != gone {
			t.Fatalf("connection %d of %d: %v", i, len(conns), err)
		}
	}
	for range 5 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	nettest.Until(t, func() bool { return o.count(fault.TooMany) == 5 }, "five connections closed unheard")
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
	s.Serve(accepting, sessions, ln)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	nettest.Until(t, func() bool { return s.conns.Load() == 1 }, "the session")
	stop()
	end()
	s.Wait()
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
	s.Serve(ctx, context.WithoutCancel(ctx), ln)
	var clients []net.Conn
	for i := range 2 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
		if i == 0 {
			s.CloseLobby()
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
