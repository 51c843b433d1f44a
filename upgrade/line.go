package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// The words on a line.
const (
	wordReady   = "ready"
	wordAccept  = "accept"
	wordSettled = "settled"
	wordMain    = "main"
	wordFailed  = "failed: " // and why
	wordConnect = "connect"  // comes with a descriptor
)

// maxWord caps a word, in bytes.
const maxWord = 4 << 10

// sendTimeout bounds the sending of a word, which waits only while nobody reads.
const sendTimeout = 2 * time.Second

// errGone is that the process at the other end of a line has ended.
var errGone = errors.New("the other process has ended")

// line is one end of a line: a socket that keeps the bounds of messages.
type line struct{ *net.UnixConn }

// say sends a word. The error is errGone if nobody is there to hear it.
func (l line) say(word string) error {
	_ = l.SetWriteDeadline(time.Now().Add(sendTimeout))
	_, err := l.Write([]byte(word[:min(len(word), maxWord)]))
	if isReset(err) {
		return errGone
	}
	return err
}

// hear returns the next word. The error is errGone if there will be none, and the cause of ctx's
// end if it ends first.
func (l line) hear(ctx context.Context) (string, error) {
	_ = l.SetReadDeadline(time.Time{})
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = l.SetReadDeadline(time.Now())
		close(late)
	})
	defer func() {
		if !stop() {
			<-late // or the next to hear would be late at once
		}
	}()
	b := make([]byte, maxWord)
	n, err := l.Read(b)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, io.EOF) || err == nil && n == 0 || isReset(err):
		return "", errGone
	}
	return string(b[:n]), err
}

// expect hears one word, or the error that the other process says instead.
func (l line) expect(ctx context.Context, want string) error {
	got, err := l.hear(ctx)
	if err != nil {
		return err
	}
	return meant(got, want)
}

// meant returns nil if the word that was heard is the one wanted.
func meant(got, want string) error {
	if why, ok := strings.CutPrefix(got, wordFailed); ok {
		return errors.New(why)
	}
	if got != want {
		return fmt.Errorf("it said %.100q, not %q", got, want)
	}
	return nil
}

// questions are what comes by a line when both processes serve: ends of connections, each for a
// question, and words, which go to heard if there is room. It implements net.Listener.
type questions struct {
	line
	heard chan<- string
}

// Addr implements net.Listener.
func (q questions) Addr() net.Addr { return q.LocalAddr() }
