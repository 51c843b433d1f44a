package upstream

import (
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
)

// silence makes ln a listener that the kernel drops the connections of: its queue is
// full.
func silence(t *testing.T, ln net.Listener) {
	t.Helper()
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var shrunk error
	if err := raw.Control(func(fd uintptr) { shrunk = syscall.Listen(int(fd), 0) }); err != nil || shrunk != nil {
		t.Fatal(err, shrunk)
	}
	for range 16 {
		conn, err := net.DialTimeout("tcp", ln.Addr().String(), 300*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue of a listener does not get full")
}

// TestDialDoesNotWaitForASilentAddress dials a name of which one address says
// nothing for longer than the dial may take.
func TestDialDoesNotWaitForASilentAddress(t *testing.T) {
	living, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	port := living.Addr().(*net.TCPAddr).Port
	silent, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	silence(t, silent)
	var addrs atomic.Pointer[[]string]
	u := &Dialer{Host: "db.test", LookupTimeout: 5 * time.Second, DialTimeout: 2 * time.Second, resolver: names(t, &addrs)}
	for _, found := range [][]string{{"127.0.0.1", "127.0.0.2"}, {"127.0.0.2", "127.0.0.1"}} { // whichever is tried first
		addrs.Store(&found)
		conn, err := u.Dial(t.Context(), "db.test", port)
		if err != nil {
			t.Fatalf("the name is %v: %v", found, err)
		}
		if got := conn.RemoteAddr().String(); got != living.Addr().String() {
			t.Errorf("connected to %s, want %s", got, living.Addr())
		}
		_ = conn.Close()
	}
	only := []string{"127.0.0.1"}
	addrs.Store(&only)
	u.DialTimeout = 300 * time.Millisecond
	if _, err := u.Dial(t.Context(), "db.test", port); fault.As(err).Message != "the database at db.test port "+strconv.Itoa(port)+" does not answer" {
		t.Errorf("the name is %v: %v", only, err)
	}
}
