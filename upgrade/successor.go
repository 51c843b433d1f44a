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
	// DrainTimeout is what its clients get if it is refused after it has begun to accept.
	DrainTimeout time.Duration
}

// Successor is the new process, as the old one sees it. [Start] makes it.
type Successor struct {
	PID   int
	line  line
	drain time.Duration // how long it may take to end when it has clients
	// kill waits so long for its end, or until its line has ended, and then kills it.
	kill func(patience time.Duration, ended <-chan struct{})

	// Once it accepts:
	answers *http.Server
	heard   chan string   // what it says beside its questions; closed with the line
	ended   chan struct{} // closed with the line
}

// AwaitReady returns when the new process could serve, or with why it cannot.
func (s *Successor) AwaitReady(ctx context.Context) error {
	return told(s.line.expect(ctx, wordReady), "before it was ready")
}

// Accept has the new process accept, and handler answer from now on what it and later ones
// ask: a client of the new one may cancel a query of this one's. Stop accepting then, and call
// AwaitSettled.
func (s *Successor) Accept(handler http.Handler) error {
	s.heard, s.ended = make(chan string, 1), make(chan struct{})
	s.answers = &http.Server{
		Handler:     http.MaxBytesHandler(handler, maxWord),
		ReadTimeout: askTimeout, WriteTimeout: askTimeout, IdleTimeout: askTimeout, MaxHeaderBytes: maxWord,
	}
	_ = s.line.SetReadDeadline(time.Time{})
	go func() {
		defer close(s.ended)
		defer close(s.heard)
		_ = s.answers.Serve(questions{s.line, s.heard}) // ends with the line
	}()
	return told(s.line.say(wordAccept), "when it was to accept")
}

// AwaitSettled returns when the new process has served for a moment, or with why it does not.
func (s *Successor) AwaitSettled(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleTimeout, errors.New("it did not go on in time"))
	defer cancel()
	select {
	case word, ok := <-s.heard:
		if !ok {
			return told(errGone, "soon after it had begun to accept")
		}
		return meant(word, wordSettled)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Leave tells the new process that it is alone now. There is no way back.
func (s *Successor) Leave() error { return s.line.say(wordMain) }

// Refuse tells the new process that it is not wanted, and why. It then accepts no longer, and
// ends when the clients that it has accepted have left. Call End after it.
func (s *Successor) Refuse(why error) { _ = s.line.say(wordFailed + why.Error()) }

// End returns when a refused process has ended. If it does not end by itself, after a moment or, if it may have
// clients, the time of a drain, it is killed.
func (s *Successor) End() {
	patience := exitGrace
	if s.answers != nil {
		patience += s.drain
	}
	s.kill(patience, s.ended)
	s.Close()
}

// Ended is closed when the process that serves has ended, this new one or one after it, or
// when this end of the line is closed.
func (s *Successor) Ended() <-chan struct{} { return s.ended }

// HasEnded reports whether Ended is closed.
func (s *Successor) HasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Close answers no more.
func (s *Successor) Close() {
	_ = s.line.Close()
	if s.answers != nil {
		_ = s.answers.Close()
		<-s.ended
	}
}

// told says of an error when it came.
func told(err error, when string) error {
	if errors.Is(err, errGone) {
		return errors.New("the new process ended " + when + "; the log has what it said")
	}
	return err
}
