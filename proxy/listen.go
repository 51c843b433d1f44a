package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/credproxy/credproxy/config"
)

// Listener is a listener whose Accept can be broken off without closing it.
type Listener interface {
	net.Listener
	// SetDeadline makes Accept fail with os.ErrDeadlineExceeded from then on.
	SetDeadline(time.Time) error
}

// Listen listens on "host:port" (TCP) or "unix:/path/of/socket".
//
// The folder of a socket is made with mode 0750 if it is missing. The socket
// gets mode 0660 (0600 would shut out an application of another user in the same
// group); it never exists with a wider one. A socket left by a process that died
// is removed, one that somebody answers on is not.
func Listen(ctx context.Context, addr string) (Listener, error) {
	path, ok := strings.CutPrefix(addr, "unix:")
	if !ok {
		ln, err := listenConfig().Listen(ctx, "tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen on %s: the port is in use; stop what listens there or choose another: %w", addr, err)
		}
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		tcp := ln.(*net.TCPListener)
		if err := widenBacklog(tcp); err != nil {
			_ = tcp.Close()
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		return tcp, nil
	}
	if len(path) > config.MaxSocketPath {
		return nil, fmt.Errorf("listen on %s: the path of a unix socket may have %d bytes, this one has %d; choose a shorter folder", addr, config.MaxSocketPath, len(path))
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("listen on %s: make its folder: %w", addr, err)
	}
	if err := removeStaleSocket(ctx, path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	ln, err := listenUnix(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return ln, nil
}

// makeFolder makes a folder, and what is missing above it, with mode 0750 under any
// umask.
func makeFolder(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeFolder(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		return err
	}
	return os.Chmod(dir, 0o750)
}

// removeStaleSocket removes the socket at path if nobody answers on it. It
// refuses to touch anything that is not a socket.
func removeStaleSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is not a socket is in the way; remove it or choose another path")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return errors.New("another process answers on this socket; stop it or choose another path")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("does anybody answer on this socket? %w", err)
	}
	return os.Remove(path)
}

// listenUnix binds the socket under a private name, gives it its mode, and then
// moves it into place, so that it never is more open than it should be.
func listenUnix(ctx context.Context, path string) (Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	private := filepath.Join(dir, "s")
	if len(private) > config.MaxSocketPath {
		return nil, fmt.Errorf("the folder's path leaves no room for a socket; choose one shorter by %d bytes", len(private)-config.MaxSocketPath)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", private)
	if err != nil {
		return nil, err
	}
	unix := ln.(*net.UnixListener)
	unix.SetUnlinkOnClose(false)
	err = errors.Join(widenBacklog(unix), os.Chmod(private, 0o660))
	var socket fs.FileInfo
	if err == nil {
		socket, err = os.Lstat(private)
	}
	if err == nil {
		err = os.Rename(private, path)
	}
	if err != nil {
		_ = unix.Close()
		return nil, err
	}
	return &unixListener{UnixListener: unix, path: path, socket: socket}, nil
}

// Inherit makes a Listener of one that another process has opened with Listen at addr, and may
// close: the file of a unix socket stays, until KeepFile says otherwise.
func Inherit(ln net.Listener, addr string) (Listener, error) {
	switch ln := ln.(type) {
	case *net.TCPListener:
		return ln, nil
	case *net.UnixListener:
		path := strings.TrimPrefix(addr, "unix:")
		socket, err := os.Lstat(path)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: the socket that is open has lost its file: %w", addr, err)
		}
		l := &unixListener{UnixListener: ln, path: path, socket: socket}
		l.kept.Store(true)
		return l, nil
	}
	return nil, fmt.Errorf("listen on %s: a socket of another kind was passed: %T", addr, ln)
}

// KeepFile has Close leave the file of a unix socket where it is, or remove it: of two processes
// that have the socket, one removes it.
func KeepFile(ln net.Listener, keep bool) {
	if l, ok := ln.(*unixListener); ok {
		l.kept.Store(keep)
	}
}

// unixListener knows where its socket was moved to, and which it is.
type unixListener struct {
	*net.UnixListener
	path   string
	socket fs.FileInfo
	kept   atomic.Bool // Close leaves the file
}

func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Accept names the socket as clients know it.
func (l *unixListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return &unixConn{c, l.Addr()}, nil
}

type unixConn struct {
	*net.UnixConn
	addr net.Addr
}

func (c *unixConn) LocalAddr() net.Addr { return c.addr }

// Close removes the socket, unless another process has put its own there. While ours is
// open no other file gets its inode.
func (l *unixListener) Close() error {
	if there, err := os.Lstat(l.path); err == nil && !l.kept.Load() && os.SameFile(there, l.socket) {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}
