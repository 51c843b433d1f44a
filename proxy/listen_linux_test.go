package proxy

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestKeepAlive has a client be noticed that has vanished as package net has it noticed.
func TestKeepAlive(t *testing.T) {
	ours, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var options [2][5]int
	for i, ln := range []net.Listener{ours, theirs} {
		defer ln.Close()
		client, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			for j, o := range [5][2]int{{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}, {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}, {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT}, {syscall.IPPROTO_TCP, syscall.TCP_NODELAY}} {
				if options[i][j], err = syscall.GetsockoptInt(int(fd), o[0], o[1]); err != nil {
					t.Error(err)
				}
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	if options[0] != options[1] {
		t.Errorf("options %v, those of package net are %v", options[0], options[1])
	}
}

// The group that may use the socket gets to it also under the umask that
// cmd/credproxy sets.
func TestListenUnixUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	ln, err := Listen(t.Context(), "unix:"+filepath.Join(dir, "new", "folder", "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for path, want := range map[string]os.FileMode{"new": 0o750, "new/folder": 0o750, "new/folder/s": 0o660} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}
