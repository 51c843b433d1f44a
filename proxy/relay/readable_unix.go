//go:build unix

package relay

import "syscall"

// readable reports whether a read would return at once, with bytes, the end or an error.
func readable(fd uintptr) bool {
	for {
		if _, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK); err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}
