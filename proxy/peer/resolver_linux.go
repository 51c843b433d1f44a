package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Resolver tells which user is at the other end of a connection from this machine:
// over a unix socket what the kernel noted when the client connected, over TCP on
// loopback the owner of the client's socket, which is the user who made it. It
// sees clients in every container that shares this one's network.
//
// The zero Resolver is ready. It keeps one socket to the kernel open until Close.
type Resolver struct {
	mu     sync.Mutex
	open   bool
	closed bool
	fd     int
	seq    uint32
	answer [maxAnswer]byte

	once     sync.Once
	overflow uint32 // stands for users that this user namespace has no number for
	partial  bool   // there are such users
}

// Check reports whether clients can be told apart on network "unix" or "tcp".
func (p *Resolver) Check(ctx context.Context, network string) error {
	if network == "unix" {
		return nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	client, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer client.Close()
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := p.Owner(conn); err != nil {
		return fmt.Errorf("the kernel does not tell who owns a TCP connection (%w); allow credproxy sockets of AF_NETLINK and the kernel its module tcp_diag, or listen on a unix socket", err)
	}
	return nil
}

// Owner tells the id of the user at the other end of c.
func (p *Resolver) Owner(c net.Conn) (uid uint32, err error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("a connection without a socket: %T", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	if IsUnix(c) {
		uid, err = unixOwner(raw)
	} else {
		uid, err = p.tcpOwner(raw, addrPort(c.RemoteAddr()), addrPort(c.LocalAddr()))
	}
	if err == nil && p.isUnmapped(uid) {
		return 0, fmt.Errorf("its user is outside of credproxy's user namespace, where it shows as %d", uid)
	}
	return uid, err
}

func unixOwner(raw syscall.RawConn) (uint32, error) {
	var cred *unix.Ucred
	err := control(raw, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	return cred.Uid, nil
}

// tcpOwner asks for the socket whose own address is client, and only then whether
// our end of the connection is alive. If it is, it was so all the time, and while
// it is nobody but its client can be connected from there: a socket that somebody
// else opened with the client's port, after the client had left, is not it.
func (p *Resolver) tcpOwner(raw syscall.RawConn, client, server netip.AddrPort) (uint32, error) {
	if !server.Addr().IsLoopback() {
		return 0, errors.New("it did not come over loopback")
	}
	s, err := p.ask(client, server)
	var info *unix.TCPInfo
	ours := control(raw, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	switch {
	case ours != nil:
		return 0, fmt.Errorf("TCP_INFO: %w", ours)
	case info.State == tcpClose:
		return 0, ErrGone
	case err == nil && s.local == client && s.remote == server && s.open():
		return s.uid, nil
	case err == nil || info.State != tcpEstablished:
		return 0, ErrGone
	case errors.Is(err, unix.ENOENT):
		return 0, fmt.Errorf("no socket of this machine or pod is connected from %s", client)
	}
	return 0, err
}

// addrPort writes an IPv4 address as such, also one mapped into IPv6.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func control(raw syscall.RawConn, f func(fd int) error) error {
	var err error
	if outer := raw.Control(func(fd uintptr) { err = f(int(fd)) }); outer != nil {
		return outer
	}
	return err
}

// ask asks the kernel for the TCP socket with these addresses.
func (p *Resolver) ask(local, remote netip.AddrPort) (socket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.connect(); err != nil {
		return socket{}, fmt.Errorf("netlink: %w", err)
	}
	p.seq++
	s, err := p.exchange(askFor(p.seq, local, remote))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		p.hangUp() // the next question starts anew
		return socket{}, fmt.Errorf("netlink: %w", err)
	}
	return s, err
}

// exchange sends a request and reads its answer, which is there when the request is
// sent: the kernel answers within the call, which may have to wait for others who ask
// it, or for a module to be loaded. Only the kernel can send here, as the socket is
// connected to it.
func (p *Resolver) exchange(request []byte) (socket, error) {
	if _, err := unix.Write(p.fd, request); err != nil {
		return socket{}, err
	}
	for {
		n, err := unix.Read(p.fd, p.answer[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return socket{}, err
		}
		if s, err := parseAnswer(p.answer[:n], p.seq); err != errOtherAnswer {
			return s, err
		}
	}
}

func (p *Resolver) connect() error {
	if p.closed {
		return net.ErrClosed
	}
	if p.open {
		return nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = unix.Close(fd)
		return os.NewSyscallError("connect", err)
	}
	p.fd, p.open = fd, true
	return nil
}

func (p *Resolver) hangUp() {
	if p.open {
		_ = unix.Close(p.fd)
	}
	p.open = false
}

// Close closes the socket to the kernel. Owner then knows nobody over TCP.
func (p *Resolver) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hangUp()
	p.closed = true
}

// isUnmapped reports whether uid stands for users without a number here
// (user_namespaces(7)): whoever they are, they must not pass for nobody.
func (p *Resolver) isUnmapped(uid uint32) bool {
	p.once.Do(func() {
		p.overflow = 65534
		if b, err := os.ReadFile("/proc/sys/kernel/overflowuid"); err == nil {
			if n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 32); err == nil {
				p.overflow = uint32(n)
			}
		}
		b, err := os.ReadFile("/proc/self/uid_map")
		p.partial = err != nil || !bytes.Equal(bytes.Join(bytes.Fields(b), []byte(" ")), []byte("0 0 4294967295"))
	})
	return p.partial && uid == p.overflow
}
