package proxy

import (
	"errors"
	"syscall"
)

// maxBacklog is what the kernel is asked for. It gives net.core.somaxconn at most, see
// listen(2), and kept 16 bits before Linux 4.1.
const maxBacklog = 1<<16 - 1

// widenBacklog has as many connections wait for Accept as the kernel allows. Package net reads
// the limit in /proc/sys and takes 128 where that is hidden, as by systemd's ProcSubset=pid:
// then a burst of clients waits for its SYNs to be repeated, or is refused at a unix socket.
func widenBacklog(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = syscall.Listen(int(fd), maxBacklog) })
	return errors.Join(err, failed)
}
