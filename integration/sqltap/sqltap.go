// Package sqltap stands between a client and a real database server, reads along, and tells the test of each login and
// statement right before and right after: a test can count them, and end the client's process at any one of them.
//
// It holds two things true. A point is told while everything waits: before, the server has nothing of the statement;
// after, the server has answered in full and the client has nothing of the answer. And TLS is verified on both sides with
// the server's own certificate and key, so that a client that verifies it, or binds its login to it, finds nothing amiss.
//
// It speaks TLS only, and with PostgreSQL only after the client has asked for it. Statements are those of PostgreSQL's simple query protocol and of MySQL's COM_QUERY; all else,
// prepared statements among it, passes without a point. It does not know compression or answers beyond 16 MiB, and cuts
// such a connection.
package sqltap

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/credproxy/credproxy/integration/pki"
)

// Options says what to stand before. All but OnPoint is needed.
type Options struct {
	Engine      string           // postgres; mysql, also for MariaDB
	Server      string           // host:port
	Certificate *pki.Certificate // the server's
	CA          *pki.CA          // who issued it

	// OnPoint is called at each point, on the goroutine that waits for it. If it returns true the connection ends there,
	// on both sides. It may be called for several connections at once.
	OnPoint func(Point) (cut bool)
}

// Point is a place in the course of a session.
type Point struct {
	User  string
	SQL   string // "" for the login
	After bool
}

// String is such as "before SELECT 1", or "after login of app".
func (p Point) String() string {
	when, what := "before ", p.SQL
	if p.After {
		when = "after "
	}
	if what == "" {
		what = "login of " + p.User
	}
	return when + what
}

// Tap listens until Close. Its methods may be called from any goroutine.
type Tap struct {
	o  Options
	ln net.Listener

	client, server *tls.Config // by which side they are for
	wg             sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	conns      map[net.Conn]struct{}
	logins     int
	statements []string
}

const (
	handshake = 20 * time.Second // for all that comes before a login
	mostHeld  = 16 << 20
)

// errCut ends a connection because the test said so.
var errCut = errors.New("cut")

// Start listens on a port of 127.0.0.1. The caller must Close the tap.
func Start(o Options) (*Tap, error) {
	if o.Engine != "postgres" && o.Engine != "mysql" {
		return nil, fmt.Errorf("unknown engine %q", o.Engine)
	}
	cert, err := o.Certificate.TLS()
	if err != nil {
		return nil, fmt.Errorf("server's certificate: %w", err)
	}
	host, _, err := net.SplitHostPort(o.Server)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &Tap{o: o, ln: ln, conns: make(map[net.Conn]struct{}),
		client: &tls.Config{Certificates: []tls.Certificate{cert}},
		server: &tls.Config{RootCAs: o.CA.Pool(), ServerName: host}}
	if o.Engine == "postgres" {
		t.client.NextProtos, t.server.NextProtos = []string{"postgresql"}, []string{"postgresql"}
	}
	t.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			t.wg.Go(func() { t.serve(conn) })
		}
	})
	return t, nil
}

// Close ends all connections and returns when nothing runs any more. It may be called twice.
func (t *Tap) Close() {
	t.mu.Lock()
	t.closed = true
	for conn := range t.conns {
		_ = conn.Close()
	}
	t.mu.Unlock()
	_ = t.ln.Close()
	t.wg.Wait()
}

// Host and Port are where to connect to.
func (t *Tap) Host() string { return "127.0.0.1" }

// Port is the one on Host.
func (t *Tap) Port() int { return t.ln.Addr().(*net.TCPAddr).Port }

// Addr is host:port.
func (t *Tap) Addr() string { return t.ln.Addr().String() }

// Logins is how many logins were sent to the server.
func (t *Tap) Logins() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.logins
}

// Statements are those sent to the server, in their order.
func (t *Tap) Statements() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.statements)
}

// keep has Close end conn. It reports false when that is too late.
func (t *Tap) keep(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.conns[conn] = struct{}{}
	}
	return !t.closed
}

func (t *Tap) drop(conn net.Conn) {
	t.mu.Lock()
	delete(t.conns, conn)
	t.mu.Unlock()
	_ = conn.Close()
}

// serve takes a client to the server and returns when the session is over.
func (t *Tap) serve(client net.Conn) {
	defer t.drop(client)
	if !t.keep(client) {
		return
	}
	server, err := net.Dial("tcp", t.o.Server)
	if err != nil {
		return // the client sees a connection that ends
	}
	defer t.drop(server)
	if !t.keep(server) {
		return
	}
	until := time.Now().Add(handshake)
	_ = client.SetDeadline(until)
	_ = server.SetDeadline(until)
	begin := t.postgres
	if t.o.Engine == "mysql" {
		begin = t.mysql
	}
	s := &session{tap: t}
	if err := begin(s, client, server); err != nil {
		return
	}
	_ = client.SetDeadline(time.Time{})
	_ = server.SetDeadline(time.Time{})
	t.wg.Go(func() {
		_ = s.answers()
		_ = s.client.Close() // tells the client of the end, once it has all
		_ = s.server.Close()
	})
	_ = s.requests()
	_ = s.server.Close()
	_ = s.client.Close()
}

// secure makes TLS of both sides.
func (s *session) secure(client, server net.Conn) error {
	s.client, s.server = tls.Server(client, s.tap.client), tls.Client(server, s.tap.server)
	if err := s.server.Handshake(); err != nil {
		return err
	}
	return s.client.Handshake()
}

// session is one connection of a client, and one to the server.
type session struct {
	tap            *Tap
	client, server *tls.Conn
	requests       func() error // passes on what the client sends, until it ends
	answers        func() error // the other way

	user string
	held []byte // of the answer that is not complete yet

	mu      sync.Mutex
	pending *Point // what the server is answering, if that is a login or a statement
	caps    uint32 // MySQL: of the client
}

// before tells of what is about to be sent, and notes that it is.
func (s *session) before(sql string) error {
	p := Point{User: s.user, SQL: sql}
	if s.tap.told(p) {
		return errCut
	}
	t := s.tap
	t.mu.Lock()
	if sql == "" {
		t.logins++
	} else {
		t.statements = append(t.statements, sql)
	}
	t.mu.Unlock()
	p.After = true
	s.mu.Lock()
	s.pending = &p
	s.mu.Unlock()
	return nil
}

// awaited is what the server is answering, or nil.
func (s *session) awaited() *Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending
}

// hold keeps a part of the answer back.
func (s *session) hold(part []byte) error {
	if s.held = append(s.held, part...); len(s.held) > mostHeld {
		return errors.New("answer is too long")
	}
	return nil
}

// release passes on what is held back.
func (s *session) release() error {
	_, err := s.client.Write(s.held)
	s.held = s.held[:0]
	return err
}

// complete tells of the answer that is complete, and passes it on.
func (s *session) complete() error {
	s.mu.Lock()
	p := s.pending
	s.pending = nil
	s.mu.Unlock()
	if s.tap.told(*p) {
		return errCut
	}
	return s.release()
}

func (t *Tap) told(p Point) (cut bool) { return t.o.OnPoint != nil && t.o.OnPoint(p) }
