package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// settle is how long a new process serves before it says that it is there to stay.
const settle = 2 * time.Second

// answerTimeout bounds how long the old process may take to go on.
const answerTimeout = 30 * time.Second

var errNoAnswer = fmt.Errorf("it has not answered within %s", answerTimeout)

// Succession is what a new process has of the old one. [Take] returns it. A nil Succession is
// that of a process that nobody hands over to.
type Succession struct {
	line         line
	table        table
	predecessors *Predecessors

	mu      sync.Mutex
	sockets []net.Listener // in the order of the table; nil: taken
}

// Number is the new process's own: see [Origin].
func (s *Succession) Number() int {
	if s == nil {
		return 1
	}
	return s.table.From.Number + 1
}

// State reads what the old process says of itself into v.
func (s *Succession) State(v any) error { return json.Unmarshal(s.table.State, v) }

// Listener returns the socket with this key, once; nil if there is none.
func (s *Succession) Listener(key Key) net.Listener {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range s.table.Sockets {
		if ln := s.sockets[i]; k == key && ln != nil {
			s.sockets[i] = nil
			return ln
		}
	}
	return nil
}

// Keys returns the names of all sockets of a kind that nobody has taken.
func (s *Succession) Keys(kind string) (names []string) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range s.table.Sockets {
		if k.Kind == kind && s.sockets[i] != nil {
			names = append(names, k.Name)
		}
	}
	return names
}

// Ready says that this process could serve, and returns when it is to accept. What nobody
// has taken of the sockets is closed.
func (s *Succession) Ready(ctx context.Context) error {
	s.closeRest()
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	err := s.line.say(wordReady)
	if err == nil {
		err = s.line.expect(ctx, wordAccept)
	}
	if err != nil {
		return fmt.Errorf("the old process was to leave: %w", err)
	}
	return nil
}

// Settle says that this process is there to stay, after it has accepted for a moment, and
// returns when it is alone: the old process says so or has ended. The error is why this
// process is not to stay.
func (s *Succession) Settle(ctx context.Context) error {
	moment, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	err := s.line.expect(moment, wordMain) // which cannot be yet, but a refusal can
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		// From here on it is the old process's to say, also when this one is told to end.
		answer, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), answerTimeout, errNoAnswer)
		defer cancel()
		if err = s.line.say(wordSettled); err == nil {
			err = s.line.expect(answer, wordMain)
		}
	}
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// Failed tells the old process why this one ends, which then goes on. Nothing comes of it
// when the old one has left or has refused this one.
func (s *Succession) Failed(why error) {
	if s != nil {
		_ = s.line.say(wordFailed + why.Error())
	}
}

func (s *Succession) closeRest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, ln := range s.sockets {
		if ln != nil {
			_ = ln.Close()
			s.sockets[i] = nil
		}
	}
}

// Predecessors returns the old processes that may still have sessions: the one that
// hands over and those before it.
func (s *Succession) Predecessors() *Predecessors {
	if s == nil {
		return nil
	}
	return s.predecessors
}
