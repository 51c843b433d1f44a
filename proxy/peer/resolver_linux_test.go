package peer

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credproxy/credproxy/proxy/nettest"
)

// as runs f as the user uid, if the tests may become somebody else, and returns
// who it ran as. Only its thread changes user, which ends with the goroutine that
// keeps it.
func as(t *testing.T, uid int, f func() error) (ran uint32) {
	t.Helper()
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		_, _, _ = unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0))
		ran = uint32(unix.Geteuid())
		result <- f()
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	return ran
}

// mapped dials an IPv4 address from a socket of IPv6, as Java does.
func mapped(addr string) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	to := netip.MustParseAddrPort(addr)
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "mapped")
	defer f.Close()
	return net.FileConn(f)
}

func direct(network string) func(string) (net.Conn, error) {
	return func(addr string) (net.Conn, error) { return net.Dial(network, addr) }
}

func TestResolverOwner(t *testing.T) {
	var peers Resolver
	defer peers.Close()
	for name, tc := range map[string]struct {
		listen string
		dial   func(addr string) (net.Conn, error)
	}{
		"IPv4":                {"127.0.0.1:0", direct("tcp")},
		"IPv6":                {"[::1]:0", direct("tcp")},
		"IPv4 mapped to IPv6": {"127.0.0.1:0", mapped},
		"on both, by IPv4": {":0", func(addr string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(addr)
			return net.Dial("tcp", "127.0.0.1:"+port)
		}},
		"unix socket": {"unix:" + filepath.Join(t.TempDir(), "s"), func(addr string) (net.Conn, error) { return net.Dial("unix", addr) }},
	} {
		t.Run(name, func(t *testing.T) {
			network, addr := "tcp", tc.listen
			if path, ok := strings.CutPrefix(tc.listen, "unix:"); ok {
				network, addr = "unix", path
			}
			ln, err := net.Listen(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			if network == "unix" {
				openTo(t, addr)
			}
			for _, uid := range []int{0, 12345} {
				var client net.Conn
				want := as(t, uid, func() (err error) { client, err = tc.dial(ln.Addr().String()); return err })
				defer client.Close()
				conn, err := ln.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if got, err := peers.Owner(conn); err != nil || got != want {
					t.Errorf("user %d, %v; want %d", got, err, want)
				}
			}
		})
	}
}

// openTo lets every user reach a socket in a test's folder.
func openTo(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestResolverOwnerHalfClosed(t *testing.T) {
	var peers Resolver
	defer peers.Close()
	client, conn := nettest.Pair(t)
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Fatal(err)
	}
	if uid, err := peers.Owner(conn); err != nil || uid != uint32(os.Geteuid()) {
		t.Errorf("user %d, %v", uid, err)
	}
}

// A socket that nobody has open shows user 0; that must not let anybody in.
func TestResolverOwnerGone(t *testing.T) {
	var peers Resolver
	defer peers.Close()
	for name, leave := range map[string]func(client, conn net.Conn){
		"closed":   func(client, _ net.Conn) { _ = client.Close() },
		"reset":    func(client, _ net.Conn) { _ = client.(*net.TCPConn).SetLinger(0); _ = client.Close() },
		"sending":  stuffAndClose,
		"TIMEWAIT": func(client, conn net.Conn) { _ = client.Close(); _ = conn.(*net.TCPConn).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			client, conn := nettest.Pair(t)
			local, remote := addrPort(client.LocalAddr()), addrPort(client.RemoteAddr())
			leave(client, conn)
			uid, err := peers.Owner(conn)
			if !errors.Is(err, ErrGone) {
				s, asked := peers.ask(local, remote)
				t.Errorf("user %d, %v; the kernel says %+v, %v", uid, err, s, asked)
			}
		})
	}
}

// stuffAndClose leaves more than the other side has room for, so that the client's
// socket goes on sending when nobody has it open.
func stuffAndClose(client, _ net.Conn) {
	_ = client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for err := error(nil); err == nil; {
		_, err = client.Write(make([]byte, 1<<20))
	}
	_ = client.Close()
}

// Whoever connects anew from the port of a client that has left is not that
// client, although its old connection has still unread words in it.
func TestResolverOwnerPortTakenOver(t *testing.T) {
	var peers Resolver
	defer peers.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	// Of an address that nobody else uses, so that no other client takes the port.
	alone := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 187, 2)}}
	first, err := alone.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	old, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	_, _ = first.Write([]byte("DROP TABLE"))
	from := first.LocalAddr()
	_ = first.(*net.TCPConn).SetLinger(0)
	_ = first.Close() // no TIME_WAIT
	var second net.Conn
	nettest.Until(t, func() bool {
		second, err = (&net.Dialer{LocalAddr: from}).Dial("tcp", ln.Addr().String())
		return err == nil
	}, "the port to be free")
	defer second.Close()
	s, err := peers.ask(addrPort(from), addrPort(ln.Addr()))
	if err != nil || !s.open() {
		t.Fatalf("the second client: %+v, %v", s, err)
	}
	if uid, err := peers.Owner(old); !errors.Is(err, ErrGone) {
		t.Errorf("the first client passes for the second: user %d, %v", uid, err)
	}
}

func TestResolverOwnerNotFromHere(t *testing.T) {
	var peers Resolver
	defer peers.Close()
	if uid, err := peers.tcpOwnerOf(t, "192.0.2.1:1000", "192.0.2.2:5432"); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("user %d, %v", uid, err)
	}
	// Through a translation of addresses a client has another address than we see.
	if uid, err := peers.tcpOwnerOf(t, "127.0.0.9:9", "127.0.0.1:5432"); err == nil || !strings.Contains(err.Error(), "127.0.0.9:9") {
		t.Errorf("user %d, %v", uid, err)
	}
}

// tcpOwnerOf asks for a living connection as if it had these addresses.
func (p *Resolver) tcpOwnerOf(t *testing.T, client, server string) (uint32, error) {
	t.Helper()
	_, conn := nettest.Pair(t)
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return p.tcpOwner(raw, netip.MustParseAddrPort(client), netip.MustParseAddrPort(server))
}

func TestResolverRecover(t *testing.T) {
	var peers Resolver
	defer peers.Close()
	if err := peers.Check(t.Context(), "tcp"); err != nil {
		t.Fatal(err)
	}
	_, conn := nettest.Pair(t)
	if err := unix.Shutdown(peers.fd, unix.SHUT_RDWR); err == nil { // netlink knows no shutdown
		t.Error("shutdown of a netlink socket")
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(null, peers.fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(null)
	if uid, err := peers.Owner(conn); err == nil {
		t.Errorf("user %d told by /dev/null", uid)
	}
	if _, err := peers.Owner(conn); err != nil {
		t.Errorf("after a failure: %v", err)
	}
	peers.Close()
	if uid, err := peers.Owner(conn); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: user %d, %v", uid, err)
	}
}

// Users without a number in the user namespace show as the overflow id.
func TestResolverUnmapped(t *testing.T) {
	var peers Resolver
	defer peers.Close()
	if peers.isUnmapped(0) {
		t.Error("user 0 counts as unknown")
	}
	peers.partial = true
	if !peers.isUnmapped(peers.overflow) || peers.isUnmapped(1000) {
		t.Error("in a user namespace of its own")
	}
	peers.overflow = uint32(os.Geteuid())
	_, conn := nettest.Pair(t)
	if uid, err := peers.Owner(conn); err == nil || !strings.Contains(err.Error(), "user namespace") {
		t.Errorf("user %d, %v", uid, err)
	}
}

func BenchmarkOwner(b *testing.B) {
	var peers Resolver
	defer peers.Close()
	_, conn := nettest.Pair(b)
	for b.Loop() {
		if _, err := peers.Owner(conn); err != nil {
			b.Fatal(err)
		}
	}
}
