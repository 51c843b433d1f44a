//go:build unix

package proxy

import "syscall"

// canAwait tells whether a socket can be waited for before it is read from.
const canAwait = true

// readSocket reads what is there, or fails with EAGAIN. 0 bytes are the end.
func readSocket(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		if err == syscall.EINTR {
			continue
		}
		return max(n, 0), err
	}
}
