package dnsstub

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const name, before, after = "orders.test", "127.0.0.2", "127.0.0.3"

// TestPrograms has a program and a resolver ask; both know no other server.
func TestPrograms(t *testing.T) {
	s := Run(t)
	getent, err := exec.LookPath("getent")
	if err != nil {
		t.Fatal(err)
	}
	wrapper, err := s.Wrap(t.TempDir(), getent)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{before, after} {
		s.Point(name, addr)
		if out, err := exec.CommandContext(t.Context(), wrapper, "ahostsv4", name).CombinedOutput(); err != nil || !strings.HasPrefix(string(out), addr) {
			t.Errorf("getent: %v\n%s", err, out)
		}
		if got, err := s.Resolver().LookupHost(t.Context(), "ORDERS.test"); err != nil || len(got) != 1 || got[0] != addr {
			t.Errorf("resolver: %q, %v", got, err)
		}
	}
	_, err = s.Resolver().LookupHost(t.Context(), "nobody.test")
	if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound {
		t.Errorf("name that nobody has: %v", err)
	}
}

// TestTime follows a name through a failover.
func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{names: map[string]func(time.Time) netip.Addr{}}
		want := func(addr string) {
			t.Helper()
			if got := s.get(name)(time.Now()).String(); got != addr {
				t.Errorf("%s is %s, want %s", name, got, addr)
			}
		}
		s.Point(name, before)
		s.PointAfter(40*time.Second, name, after)
		want(before)
		time.Sleep(39 * time.Second)
		want(before)
		time.Sleep(time.Second)
		want(after)
		s.Flap(3*time.Second, name, before, after)
		for _, addr := range []string{before, after, before} {
			want(addr)
			time.Sleep(3 * time.Second)
		}
	})
}

// TestNoQuery sends what is no query.
func TestNoQuery(t *testing.T) {
	s := &Server{}
	query := []byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06orders\x04test\x00\x00\x01\x00\x01")
	for n := range query {
		if answer := s.answer(query[:n]); answer != nil {
			t.Errorf("answer to %d bytes: %q", n, answer)
		}
	}
}
