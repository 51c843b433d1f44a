package upgrade

import (
	"context"
	"errors"
	"net/http"
	"syscall"
	"time"
)

// settleTimeout bounds the moment that a new process serves before the old one leaves.
const settleTimeout = settle + 10*time.Second

// exitGrace is how long a new process that is not wanted may take to end by itself.
const exitGrace = 3 * time.Second

// Socket is one that is passed on.
type Socket struct {
	Key
	Conn syscall.Conn
}

// Offer is what a new process gets.
type Offer struct {
	From         Origin
	Sockets      []Socket
	Predecessors *Predecessors // of the old process
	State        any           // becomes JSON; holds no secret
}

// Successor is the new process, as the old one sees it. [Start] makes it.
type Successor struct {
	PID  int
	line line
	kill func()
}

// AwaitReady returns when the new process could serve, or with why it cannot.
func (s *Successor) AwaitReady(ctx context.Context) error {
	return told(s.line.expect(ctx, wordReady), "before it was ready")
}

// Accept has the new process accept. Stop accepting then, and call AwaitSettled.
func (s *Successor) Accept() error { return told(s.line.say(wordAccept), "when it was to accept") }

// AwaitSettled returns when the new process has served for a moment, or with why it does not.
func (s *Successor) AwaitSettled(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleTimeout, errors.New("it did not go on in time"))
	defer cancel()
	return told(s.line.expect(ctx, wordSettled), "soon after it had begun to accept")
}

// Leave tells the new process that it is alone now. There is no way back.
func (s *Successor) Leave() error { return s.line.say(wordMain) }

// Serve answers what later processes ask, until ctx ends or none of them is there.
func (s *Successor) Serve(ctx context.Context, handler http.Handler) {
	srv := &http.Server{
		Handler:     http.MaxBytesHandler(handler, maxWord),
		ReadTimeout: askTimeout, WriteTimeout: askTimeout, IdleTimeout: askTimeout, MaxHeaderBytes: maxWord,
	}
	_ = s.line.SetDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	_ = srv.Serve(s.line) // ends with the line
}

// Close ends a new process that is not wanted, and returns when it has ended. It hears
// that it is alone, and after a moment is killed.
func (s *Successor) Close() {
	_ = s.line.Close()
	s.kill()
}

// told says of an error when it came.
func told(err error, when string) error {
	if errors.Is(err, errGone) {
		return errors.New("the new process ended " + when + "; the log has what it said")
	}
	return err
}
