package upgrade

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// firstDescriptor is the first that is passed to a new process.
const firstDescriptor = 3

// Take returns what the process has that started this one to take its place, nil if this
// one was started as ever.
//
// A SIGUSR2 does nothing from then on, until Notify: it must not end a process that is starting.
func Take() (*Succession, error) {
	signal.Ignore(syscall.SIGUSR2)
	passed, given := os.LookupEnv(variable)
	if !given {
		return nil, nil
	}
	_ = os.Unsetenv(variable)
	n, err := strconv.Atoi(passed)
	if err != nil || n < 2 || n > 2+maxSockets+MaxPredecessors {
		return nil, fmt.Errorf("the variable %s is %.20q; it is for a process that credproxy itself starts: unset it", variable, passed)
	}
	for fd := firstDescriptor; fd < firstDescriptor+n; fd++ {
		syscall.CloseOnExec(fd)
	}
	s := &Succession{}
	if s.line, err = lineOf(firstDescriptor); err != nil {
		return nil, fmt.Errorf("the variable %s is set, but descriptor %d is %w; unset it", variable, firstDescriptor, err)
	}
	if err := s.take(n); err != nil {
		s.Failed(err)
		_ = s.line.Close()
		return nil, fmt.Errorf("take over the sockets of the old process: %w", err)
	}
	return s, nil
}

// take reads the table and takes the sockets that it names.
func (s *Succession) take(n int) error {
	f := os.NewFile(firstDescriptor+1, "table of sockets")
	text, err := io.ReadAll(io.LimitReader(f, maxTable+1))
	_ = f.Close()
	if err != nil {
		return err
	}
	if s.table, err = parseTable(text, n); err != nil {
		return err
	}
	fd := firstDescriptor + 2
	for _, key := range s.table.Sockets {
		f := os.NewFile(uintptr(fd), key.Name)
		ln, err := net.FileListener(f)
		_ = f.Close() // ln has a copy
		if err != nil {
			return fmt.Errorf("socket %s %s: %w", key.Kind, key.Name, err)
		}
		s.sockets = append(s.sockets, ln)
		fd++
	}
	s.predecessors = &Predecessors{all: []*predecessor{newPredecessor(s.table.From, s.line)}}
	for _, origin := range s.table.Predecessors {
		l, err := lineOf(fd)
		if err != nil {
			return fmt.Errorf("the line to process %d: %w", origin.PID, err)
		}
		s.predecessors.all = append(s.predecessors.all, newPredecessor(origin, l))
		fd++
	}
	return nil
}
