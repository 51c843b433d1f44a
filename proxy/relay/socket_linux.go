package relay

import (
	"syscall"
	"unsafe"
)

// canAwait reports whether a socket can be waited for before it is used.
const canAwait = true

// readSocket reads what is there, or fails with EAGAIN. 0 bytes are the end.
func readSocket(fd uintptr, b []byte) (int, error) { return callSocket(syscall.SYS_READ, fd, b) }

// writeSocket writes what there is room for, or fails with EAGAIN.
func writeSocket(fd uintptr, b []byte) (int, error) { return callSocket(syscall.SYS_WRITE, fd, b) }

// callSocket does not tell Go's scheduler of the call, as package syscall does for
// calls that may block. Those of a socket that does not block, as all of package
// net's are, take microseconds; but when several sessions are busy the scheduler
// takes that for a block again and again, gives the processor to another thread, and
// costs a third of all that relaying a short message takes.
func callSocket(call, fd uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}
