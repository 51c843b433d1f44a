// Package dnsstub is a name server that says what a test tells it: the address of a name,
// until when it goes on naming the one before, and names that flap, as those of Aurora's
// clusters do around a failover. Programs are run so that they ask no other.
//
// It knows IPv4 addresses alone, one a name at a time, and listens on an address of
// loopback at port 53, which takes root.
package dnsstub

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// ttl is for how many seconds an answer may be kept: Aurora's.
const ttl = 5

// Server is a running name server.
type Server struct {
	addr netip.Addr
	conn net.PacketConn
	gone sync.WaitGroup

	mu    sync.Mutex
	names map[string]func(now time.Time) netip.Addr
}

// Run starts a server that ends with the test.
func Run(t testing.TB) *Server {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Start starts a server that knows no name. The caller must Close it.
func Start() (*Server, error) {
	const attempts = 100
	var errs error
	for range attempts {
		addr := netip.AddrFrom4([4]byte{127, 53, byte(rand.N(256)), byte(1 + rand.N(254))})
		conn, err := net.ListenPacket("udp", netip.AddrPortFrom(addr, 53).String())
		if err != nil {
			errs = err
			continue
		}
		s := &Server{addr: addr, conn: conn, names: map[string]func(time.Time) netip.Addr{}}
		s.gone.Go(s.serve)
		return s, nil
	}
	return nil, fmt.Errorf("start a name server: %w", errs)
}

// Close ends the server.
func (s *Server) Close() {
	s.conn.Close()
	s.gone.Wait()
}

// Point makes addr, of IPv4, the address of a name. It takes the place of all that was
// said of the name.
func (s *Server) Point(name, addr string) {
	a := netip.MustParseAddr(addr)
	s.set(name, func(time.Time) netip.Addr { return a })
}

// PointAfter is Point when d is over; until then the name goes on as now.
func (s *Server) PointAfter(d time.Duration, name, addr string) {
	a, from, before := netip.MustParseAddr(addr), time.Now().Add(d), s.get(name)
	s.set(name, func(now time.Time) netip.Addr {
		if before != nil && now.Before(from) {
			return before(now)
		}
		return a
	})
}

// Flap has a name take turns between addresses of IPv4, of which each is true for d.
func (s *Server) Flap(d time.Duration, name string, addrs ...string) {
	start := time.Now()
	s.set(name, func(now time.Time) netip.Addr {
		return netip.MustParseAddr(addrs[int(now.Sub(start)/d)%len(addrs)])
	})
}

func (s *Server) get(name string) func(time.Time) netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[strings.ToLower(name)]
}

func (s *Server) set(name string, addr func(time.Time) netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[strings.ToLower(name)] = addr
}

// Resolver asks this server alone.
func (s *Server) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
}

// Wrap returns the path of a program, in the folder dir, that runs program where this
// server is the only one: in a mount namespace of its own with another resolv.conf(5).
// The process keeps its id.
func (s *Server) Wrap(dir, program string) (string, error) {
	conf, wrapper := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "with-names")
	script := fmt.Sprintf(`#!/bin/sh
export GODEBUG=netdns=go
exec unshare --mount sh -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' %q %q "$@"
`, conf, program)
	return wrapper, errors.Join(
		os.WriteFile(conf, []byte("nameserver "+s.addr.String()+"\noptions timeout:1 attempts:2\n"), 0o644),
		os.WriteFile(wrapper, []byte(script), 0o755))
}

func (s *Server) serve() {
	query := make([]byte, 512) // RFC 1035, section 2.3.4
	for {
		n, from, err := s.conn.ReadFrom(query)
		if err != nil {
			return // closed
		}
		if answer := s.answer(query[:n]); answer != nil {
			_, _ = s.conn.WriteTo(answer, from) // whoever hears nothing asks again
		}
	}
}

// answer is the answer to a query (RFC 1035, section 4), nil to what is none.
func (s *Server) answer(query []byte) []byte {
	const header, typeA, nameError = 12, 1, 3
	var labels []string
	end := header
	for {
		if end >= len(query) || end+1+int(query[end]) > len(query) {
			return nil
		}
		length := int(query[end])
		end += 1 + length
		if length == 0 {
			break
		}
		labels = append(labels, string(query[end-length:end]))
	}
	if end+4 > len(query) {
		return nil
	}
	kind := binary.BigEndian.Uint16(query[end:])
	addr := s.get(strings.Join(labels, "."))
	answers, code := byte(0), byte(0)
	switch {
	case addr == nil:
		code = nameError
	case kind == typeA:
		answers = 1
	}
	// A response, authoritative, recursion wanted and available; the question stays.
	b := append([]byte{query[0], query[1], 0x85, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0}, query[header:end+4]...)
	if answers > 0 {
		b = append(b, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, ttl, 0, 4)
		b = append(b, addr(time.Now()).AsSlice()...)
	}
	return b
}
