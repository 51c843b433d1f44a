package upstream

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
)

// TestDialWithoutDescriptors has the process open as many files as it may: that is no
// fault of the database, and opens no breaker.
func TestDialWithoutDescriptors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	u := &Dialer{LookupTimeout: 5 * time.Second, DialTimeout: 2 * time.Second, resolver: &net.Resolver{PreferGo: true}}
	u.Breaker = NewBreaker(zap.NewNop(), func(open bool) { t.Errorf("the breaker is open: %v", open) })
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}
	defer restore()
	for _, host := range []string{"127.0.0.1", "db.test"} {
		for range breakerFailures {
			conn, err := u.Dial(t.Context(), host, port)
			if err == nil {
				_ = conn.Close()
				t.Fatalf("%s was dialled without a descriptor", host)
			}
			if e := fault.As(err); e.Kind != fault.TooMany || !strings.Contains(e.Told(), "LimitNOFILE") {
				t.Errorf("%s: %s: %s (%v)", host, e.Kind, e.Told(), err)
			}
		}
	}
	restore()
	conn, err := u.Dial(t.Context(), "127.0.0.1", port)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
