package proxy

import (
	"net"
	"os"
	"syscall"
)

// listenConfig is for listeners whose connections notice that their client's machine is gone as those of package
// net do: after 15 s of silence it is asked 9 times, every 15 s. Linux has connections inherit
// that from their listener, where package net makes four calls for each of them.
func listenConfig() *net.ListenConfig {
	return &net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			for _, o := range []struct{ level, name, value int }{
				{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 9},
			} {
				if err := syscall.SetsockoptInt(int(fd), o.level, o.name, o.value); err != nil {
					failed = os.NewSyscallError("setsockopt", err)
				}
			}
		})
		if err != nil {
			return err
		}
		return failed
	}}
}
