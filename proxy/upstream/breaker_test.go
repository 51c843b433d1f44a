package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/secrets"
)

// place is a database's host and port for a breaker, without a network.
type place struct {
	dials int
	err   error
}

func (p *place) dial() (net.Conn, error) {
	p.dials++
	return nil, p.err
}

func down() error {
	return &fault.Error{Kind: fault.Unreachable, Message: "the database refuses connections", Hint: "Is it running?", Err: syscall.ECONNREFUSED}
}

func (p *place) fails(t *testing.T, b *Breaker, target string, dialled bool) error {
	t.Helper()
	before := p.dials
	_, err := b.dial(target, p.dial)
	if e, ok := unreachable(err); !ok || e.Message != "the database refuses connections" || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %+v", err)
	}
	if got := p.dials > before; got != dialled {
		t.Errorf("dialled: %v, want %v", got, dialled)
	}
	return err
}

func TestBreakerLeavesADatabaseAloneThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		var told []bool
		b, p := NewBreaker(zap.New(core), func(open bool) { told = append(told, open) }), &place{err: down()}
		for range breakerFailures {
			if s := b.Status(); s.State != "closed" || !s.Since.IsZero() || s.Err != nil {
				t.Errorf("before: %+v", s)
			}
			p.fails(t, b, "db:1", true)
		}
		opened := time.Now()
		for range 100 {
			if e := fault.As(p.fails(t, b, "db:1", false)); !strings.Contains(e.Hint, "Is it running? credproxy tries again by itself") {
				t.Errorf("hint: %s", e.Hint)
			}
		}
		if s := b.Status(); s.State != "open" || !s.Since.Equal(opened) || !s.RetryAt.Equal(opened.Add(breakerOpen)) || s.Err == nil {
			t.Errorf("open: %+v", s)
		}
		time.Sleep(breakerOpen + 1)
		if s := b.Status(); s.State != "half-open" || !s.Since.Equal(opened) {
			t.Errorf("after %v: %+v", breakerOpen, s)
		}
		p.fails(t, b, "db:1", true) // the trial
		p.fails(t, b, "db:1", false)
		time.Sleep(breakerOpen + 1)
		p.err = nil
		for range 2 {
			if _, err := b.dial("db:1", p.dial); err != nil {
				t.Errorf("it is back: %v", err)
			}
		}
		if s := b.Status(); s.State != "closed" || !s.Since.IsZero() || s.Err != nil {
			t.Errorf("closed again: %+v", s)
		}
		if lines := logs.All(); len(lines) != 2 || lines[0].Level != zapcore.ErrorLevel || lines[1].ContextMap()["after"] != time.Since(opened) {
			t.Errorf("log: %v", lines)
		}
		if !slices.Equal(told, []bool{true, false}) {
			t.Errorf("told of: %v", told)
		}
	})
}

func TestBreakerTriesOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := NewBreaker(zap.NewNop(), func(bool) {}), &place{err: down()}
		for range breakerFailures {
			p.fails(t, b, "db:1", true)
		}
		time.Sleep(breakerOpen + 1)
		for _, left := range []bool{true, false} { // a client that leaves gives its place to the next
			trial, end := make(chan struct{}), make(chan error)
			go func() {
				_, err := b.dial("db:1", func() (net.Conn, error) { <-trial; return nil, context.Canceled })
				end <- err
			}()
			synctest.Wait()
			p.fails(t, b, "db:1", false)
			close(trial)
			if err := <-end; !errors.Is(err, context.Canceled) {
				t.Errorf("the trial: %v", err)
			}
			if s := b.Status(); s.State != "half-open" {
				t.Errorf("after a trial that was broken off (%v): %+v", left, s)
			}
		}
		p.err = nil
		if _, err := b.dial("db:1", p.dial); err != nil || b.Status().State != "closed" {
			t.Errorf("it is back: %v, %+v", err, b.Status())
		}
	})
}

func TestBreakerIsForOnePlace(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	open := false
	b, old, moved := NewBreaker(zap.New(core), func(is bool) { open = is }), &place{err: down()}, &place{}
	for range breakerFailures {
		old.fails(t, b, "old:1", true)
	}
	old.fails(t, b, "old:1", false)
	if _, err := b.dial("new:1", moved.dial); err != nil || moved.dials != 1 {
		t.Errorf("the new place: %v after %d dials", err, moved.dials)
	}
	if s := b.Status(); s.State != "closed" || open {
		t.Errorf("at the new place: %+v", s)
	}
	if logs.FilterMessage("the database is somewhere else now").Len() != 1 {
		t.Errorf("log: %v", logs.All())
	}
}

func TestBreakerCountsNoClientThatLeaves(t *testing.T) {
	b, p := NewBreaker(zap.NewNop(), func(bool) {}), &place{err: &fault.Error{Kind: fault.ClientGone, Err: context.Canceled}}
	for range 10 * breakerFailures {
		_, _ = b.dial("db:1", p.dial)
	}
	if s := b.Status(); s.State != "closed" || p.dials != 10*breakerFailures {
		t.Errorf("%+v after %d dials", s, p.dials)
	}
}

// TestDialGoesThroughTheBreaker dials a port that nobody listens on, and then
// somebody does.
func TestDialGoesThroughTheBreaker(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr)
	_ = ln.Close()
	u := &Dialer{LookupTimeout: 5 * time.Second, DialTimeout: 5 * time.Second, Breaker: NewBreaker(zap.NewNop(), func(bool) {})}
	leaving, leave := context.WithCancelCause(t.Context())
	leave(&fault.Error{Kind: fault.ClientGone})
	for range 2 * breakerFailures {
		if _, err := u.Dial(leaving, "127.0.0.1", addr.Port); fault.As(err).Kind != fault.ClientGone {
			t.Errorf("a client that left: %v", err)
		}
	}
	for range 2 * breakerFailures {
		if _, err := u.Dial(t.Context(), "127.0.0.1", addr.Port); !secrets.IsWrongEndpoint(err) || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
	}
	if s := u.Breaker.Status(); s.State != "open" {
		t.Errorf("%+v", s)
	}
	if ln, err = net.Listen("tcp", addr.String()); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nettest.Until(t, func() bool {
		conn, err := u.Dial(t.Context(), "127.0.0.1", addr.Port)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, "the breaker to close")
}

// names is a name server that says that every name has the addresses given.
func names(t *testing.T, addrs *atomic.Pointer[[]string]) *net.Resolver {
	return nameServer(t, func(query []byte) []byte { return answerTo(query, *addrs.Load()) })
}

// nameServer returns a resolver whose only server answers as said; nil says nothing.
func nameServer(t *testing.T, answer func(query []byte) []byte) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		t.Cleanup(func() { _ = here.Close() })
		go func() {
			defer there.Close()
			query := make([]byte, 512) // RFC 1035 section 4, over TCP: with a length before it
			for {
				if _, err := io.ReadFull(there, query[:2]); err != nil {
					return
				}
				n := int(binary.BigEndian.Uint16(query))
				if _, err := io.ReadFull(there, query[:n]); err != nil {
					return
				}
				if b := answer(query[:n]); b == nil {
					continue
				} else if _, err := there.Write(b); err != nil {
					return
				}
			}
		}()
		return here, nil
	}}
}

// answerTo answers a question for IPv4 addresses; there are no others.
func answerTo(query []byte, addrs []string) []byte {
	end := 12
	for query[end] != 0 {
		end += 1 + int(query[end])
	}
	end += 5 // the root, type and class
	if query[end-3] != 1 {
		addrs = nil
	}
	b := append([]byte{0, 0}, query[:end]...)
	copy(b[4:], []byte{0x84, 0, 0, 1, 0, byte(len(addrs)), 0, 0, 0, 0})
	for _, a := range addrs {
		b = append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		b = append(b, net.ParseIP(a).To4()...)
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return b
}

// TestDialTriesAllAddressesAnew dials a name of which one address is dead, and
// again after the name has moved, as in a failover.
func TestDialTriesAllAddressesAnew(t *testing.T) {
	var addrs atomic.Pointer[[]string]
	u := &Dialer{Host: "db.test", LookupTimeout: 5 * time.Second, DialTimeout: 5 * time.Second, resolver: names(t, &addrs)}
	for _, living := range []string{"127.0.0.1", "127.0.0.2"} { // whichever is tried first
		ln, err := net.Listen("tcp", living+":0")
		if err != nil {
			t.Fatal(err)
		}
		port := ln.Addr().(*net.TCPAddr).Port
		for _, found := range [][]string{{"127.0.0.1", "127.0.0.2"}, {"127.0.0.2", "127.0.0.1"}, {living}} {
			addrs.Store(&found)
			conn, err := u.Dial(t.Context(), "db.test", port)
			if err != nil {
				t.Fatalf("%s lives, the name is %v: %v", living, found, err)
			}
			if got := conn.RemoteAddr().String(); got != ln.Addr().String() {
				t.Errorf("connected to %s, want %s", got, ln.Addr())
			}
			_ = conn.Close()
		}
		_ = ln.Close()
	}
}
