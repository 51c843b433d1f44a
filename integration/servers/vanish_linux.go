package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Vanish has the server's machine vanish for all who use TCP: from now on the kernel drops
// what arrives for the server, even acknowledgements and new connections. The server itself
// goes on. It takes root.
func (pg *Postgres) Vanish() error { return pg.process.vanish() }

// Vanish is the same as [Postgres.Vanish].
func (my *MySQL) Vanish() error { return my.process.vanish() }

// vanish puts a filter that drops everything on each socket of each process that works in
// the server's folder.
func (p *process) vanish() error {
	sockets, err := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	if err != nil {
		return err
	}
	filtered := 0
	for _, path := range sockets { // what has ended meanwhile can be read no more
		kind, _ := os.Readlink(path)
		proc, fd, _ := strings.Cut(strings.TrimPrefix(path, "/proc/"), "/fd/")
		cwd, _ := os.Readlink("/proc/" + proc + "/cwd")
		if !strings.HasPrefix(kind, "socket:") || !strings.HasPrefix(cwd, p.folder+"/") {
			continue
		}
		ok, err := dropAll(proc, fd)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if ok {
			filtered++
		}
	}
	if filtered == 0 {
		return errors.New("found no socket of the server")
	}
	return nil
}

// dropAll filters another process's socket (pidfd_getfd(2), SO_ATTACH_FILTER of socket(7)),
// if it is one of IPv4.
func dropAll(proc, fd string) (bool, error) {
	pid, err := strconv.Atoi(proc)
	if err != nil {
		return false, err
	}
	number, err := strconv.Atoi(fd)
	if err != nil {
		return false, err
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, ended(err)
	}
	defer unix.Close(process)
	socket, err := unix.PidfdGetfd(process, number, 0)
	if err != nil {
		return false, ended(err)
	}
	defer unix.Close(socket)
	family, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || family != unix.AF_INET {
		return false, err
	}
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	return true, unix.SetsockoptSockFprog(socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
}

// ended is no error if it says that a process or its descriptor is gone.
func ended(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EBADF) {
		return nil
	}
	return err
}
