//go:build unix && !linux

package relay

import "syscall"

// canAwait reports whether a socket can be waited for before it is used.
const canAwait = true

// readSocket reads what is there, or fails with EAGAIN. 0 bytes are the end.
func readSocket(fd uintptr, b []byte) (int, error) { return callSocket(syscall.Read, fd, b) }

// writeSocket writes what there is room for, or fails with EAGAIN.
func writeSocket(fd uintptr, b []byte) (int, error) { return callSocket(syscall.Write, fd, b) }

func callSocket(call func(fd int, b []byte) (int, error), fd uintptr, b []byte) (int, error) {
	for {
		n, err := call(int(fd), b)
		if err == syscall.EINTR {
			continue
		}
		return max(n, 0), err
	}
}
