//go:build unix

package proxy

import "syscall"

// peek fails with EAGAIN while there is nothing to read.
func peek(fd uintptr) error {
	for {
		if _, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK); err != syscall.EINTR {
			return err
		}
	}
}
