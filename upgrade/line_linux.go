package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// isReset reports whether an error of a socket says that the other end is closed.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// pair returns the two ends of a connection, of which the second is a bare descriptor.
func pair(kind int) (net.Conn, int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, 0, os.NewSyscallError("socketpair", err)
	}
	c, err := connOf(fds[0])
	if err != nil {
		_ = unix.Close(fds[1])
		return nil, 0, err
	}
	return c, fds[1], nil
}

// connOf makes a connection of a descriptor, which it closes.
func connOf(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "line")
	defer f.Close()
	return net.FileConn(f)
}

// lineOf makes a line of a descriptor, which it closes.
func lineOf(fd int) (line, error) {
	c, err := connOf(fd)
	if err != nil {
		return line{}, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok || u.LocalAddr().Network() != "unixpacket" {
		_ = c.Close()
		return line{}, errors.New("not the socket of a process that hands over")
	}
	return line{u}, nil
}

// connect returns a fresh connection to the process at the other end, which gets its end
// by the line.
func (l line) connect(context.Context) (net.Conn, error) {
	ours, theirs, err := pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	defer unix.Close(theirs)
	_ = l.SetWriteDeadline(time.Now().Add(sendTimeout))
	if _, _, err := l.WriteMsgUnix([]byte(wordConnect), unix.UnixRights(theirs), nil); err != nil {
		_ = ours.Close()
		if isReset(err) {
			err = errGone
		}
		return nil, err
	}
	return ours, nil
}

// Accept returns the next connection of whoever has the other end. It implements
// net.Listener.
func (q questions) Accept() (net.Conn, error) {
	for {
		word, rights := make([]byte, maxWord), make([]byte, unix.CmsgSpace(4))
		size, n, _, _, err := q.ReadMsgUnix(word, rights)
		if err != nil {
			return nil, err
		}
		fds, err := descriptors(rights[:n])
		if err != nil {
			return nil, err
		}
		for i, fd := range fds {
			unix.CloseOnExec(fd) // package net asks for that already
			if i > 0 {
				_ = unix.Close(fd)
			}
		}
		if len(fds) > 0 {
			return connOf(fds[0])
		}
		select {
		case q.heard <- string(word[:size]):
		default: // nobody waits for so many
		}
	}
}

func descriptors(rights []byte) (all []int, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, err
		}
		all = append(all, fds...)
	}
	return all, nil
}

// duplicate returns a copy of a socket's descriptor. The copy that package net would make in
// an os.File blocks, and so would the socket that it is a copy of.
func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	if err := raw.Control(func(own uintptr) { fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, fmt.Errorf("copy a descriptor: %w", failed)
	}
	return fd, nil
}
