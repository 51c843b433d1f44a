package topology

import (
	"context"
	"errors"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/tracing"
)

// maxTries caps how often one login goes for a server. Each time but the first the monitor
// has verified one meanwhile.
const maxTries = 4

// missed is the error of a login that another server may serve.
type missed struct {
	route Route
	has   Role // the server's at its end; Unknown: there is none
	error
}

func (m *missed) Unwrap() error { return m.error }

// Missed marks the error of a login that found no server at the end of its route, or one
// that is about to go or not ready yet, so that [Servers.Login] tries another.
func Missed(route Route, err error) error { return &missed{route, Unknown, err} }

// Login calls login until it gets to a server with the role: again when [Servers.Verify]
// or [Missed] told of another one, and the monitor has found one. While the monitor knows
// that there is none it waits. When timeout is over it neither waits nor calls login again: the error then is
// a *fault.Error of kind Unreachable that names the servers, or the last one of login. The
// context of login ends when another server has taken over; [Servers.AttemptTime] bounds an attempt.
func (s *Servers) Login(ctx context.Context, timeout time.Duration, login func(context.Context) error) error {
	if s == nil {
		return login(ctx)
	}
	began := time.Now()
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	over := func() bool { return waiting.Err() != nil || time.Since(began) >= timeout }
	for tries, checked := 1, uint64(0); ; tries++ {
		if err := s.await(waiting, checked); err != nil {
			return s.errWaited(ctx)
		}
		err := s.duringEpoch(ctx, login)
		missed, ok := errors.AsType[*missed](err)
		switch {
		case !ok:
			return err
		case s.o.Role == Reader:
			others, hopeless := s.leaveOut(missed)
			if hopeless || over() {
				return err
			}
			if s.kick(); !others {
				pause(waiting, askAgain)
			}
			continue
		case tries == maxTries || over():
			return err
		}
		s.mu.Lock()
		checked = s.begun + 1 // what the one under way has heard may be from before
		s.mu.Unlock()
		s.kick()
	}
}

// Await waits as [Servers.Login] does before it calls login: for a client that is to get a session that is
// open already.
func (s *Servers) Await(ctx context.Context, timeout time.Duration) error {
	if s == nil {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := s.await(waiting, 0); err != nil {
		return s.errWaited(ctx)
	}
	return nil
}

// errWaited is the error of one that waited in vain, or whose ctx ended.
func (s *Servers) errWaited(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.errNone()
}

// duringEpoch calls login with a context that ends when another server takes over.
func (s *Servers) duringEpoch(ctx context.Context, login func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.mu.Lock()
	during := s.during
	s.mu.Unlock()
	defer context.AfterFunc(during, func() { cancel(context.Cause(during)) })()
	return login(ctx)
}

// errReplaced ends the login at a server that another one has taken over from.
var errReplaced = Missed(Route{}, &fault.Error{Kind: fault.Unreachable, Message: "another server has just taken over"})

// await returns when that many checks are done and there is a server, or nothing that the
// monitor could know of.
func (s *Servers) await(ctx context.Context, checks uint64) (err error) {
	var span tracing.Span
	waited := false
	for {
		s.mu.Lock()
		ready := s.done >= checks && (s.trouble.IsZero() || s.failed != nil)
		if s.o.Role == Reader {
			ready = s.hasReader() || s.failed != nil
		}
		ready = ready && !s.switchover.holds()
		news := s.news
		s.mu.Unlock()
		if ready {
			return nil
		}
		if !waited {
			waited = true
			_, span = tracing.Start(ctx, "wait for server")
			defer func() { span.End(err) }()
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
