package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Start starts p, which gets the sockets of o and finds them by [Take].
//
// The new process is a child of this one's parent, not of this one: systemd sees the end
// of its own children alone, and the new one is to outlive this one.
func Start(p Program, o Offer) (_ *Successor, err error) {
	if err := Possible(); err != nil {
		return nil, err
	}
	var fds []int // what the new process gets
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	ours, theirs, err := pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	fds = append(fds, theirs)
	l := line{ours.(*net.UnixConn)}
	defer func() {
		if err != nil {
			_ = l.Close()
		}
	}()
	t := table{From: o.From}
	lines := o.Predecessors.present()
	if len(lines) >= MaxPredecessors {
		return nil, fmt.Errorf("%d older processes still have sessions, as many as there may be; wait until some have ended, or end them", len(lines))
	}
	if t.State, err = json.Marshal(o.State); err != nil {
		return nil, err
	}
	sockets := make([]syscall.Conn, 0, len(o.Sockets))
	for _, s := range o.Sockets {
		t.Sockets = append(t.Sockets, s.Key)
		sockets = append(sockets, s.Conn)
	}
	fds = append(fds, -1) // the table is here as soon as it is whole
	for _, s := range sockets {
		fd, err := duplicate(s)
		if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
	}
	for _, older := range lines {
		fd, err := duplicate(older.line)
		if errors.Is(err, net.ErrClosed) {
			continue // it has ended just now
		}
		if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
		t.Predecessors = append(t.Predecessors, older.Origin)
	}
	if fds[1], err = tableFile(t); err != nil {
		return nil, err
	}
	pidfd := -1
	attr := syscall.ProcAttr{
		Env: append(p.Env[:len(p.Env):len(p.Env)], variable+"="+strconv.Itoa(len(fds))), Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_PARENT, PidFD: &pidfd},
	}
	for _, fd := range fds {
		attr.Files = append(attr.Files, uintptr(fd))
	}
	pid, _, err := syscall.StartProcess(p.Path, p.Args, &attr)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Path, err)
	}
	return &Successor{PID: pid, line: l, drain: o.DrainTimeout, kill: func(patience time.Duration, ended <-chan struct{}) { kill(pid, pidfd, patience, ended) }}, nil
}

// tableFile writes a table into memory and returns a descriptor of it.
func tableFile(t table) (fd int, err error) {
	text, err := json.Marshal(t)
	if err != nil {
		return 0, err
	}
	if _, err := parseTable(text, 2+len(t.Sockets)+len(t.Predecessors)); err != nil {
		return 0, err
	}
	if fd, err = unix.MemfdCreate("credproxy-handover", unix.MFD_CLOEXEC); err != nil {
		return 0, os.NewSyscallError("memfd_create", err)
	}
	for len(text) > 0 && err == nil {
		var n int
		n, err = unix.Write(fd, text)
		text = text[max(n, 0):]
	}
	if err == nil {
		_, err = unix.Seek(fd, 0, 0)
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, err
}

// kill kills a process that does not end by itself, and waits for its end. Its parent
// reaps it.
func kill(pid, pidfd int, patience time.Duration, lineEnded <-chan struct{}) {
	if pidfd < 0 { // before Linux 5.3 nothing tells of the end of another's child but its line
		select {
		case <-lineEnded:
		case <-time.After(patience):
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		return
	}
	defer unix.Close(pidfd)
	if ended(pidfd, patience) {
		return
	}
	_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	ended(pidfd, exitGrace)
}

// ended waits for the end of a process, and reports whether it came in time.
func ended(pidfd int, within time.Duration) bool {
	for end := time.Now().Add(within); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(max(0, time.Until(end).Milliseconds())))
		if err != unix.EINTR {
			return n > 0
		}
	}
}
