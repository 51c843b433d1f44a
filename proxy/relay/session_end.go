package relay

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tailSize is how many of the last bytes that a client was sent are remembered.
	tailSize = 64
	// farewellTimeout is how long a client may take to take its last message.
	farewellTimeout = time.Second
)

// Farewell encodes why for a client whose session is ended, nil if the protocol
// allows no message now. tail holds the last bytes that the client was sent, at
// most 64; none have been relayed yet if it is empty. idle tells that the database
// seems to have answered all, and that no transaction is open.
type Farewell func(tail []byte, why error) (message []byte, idle bool)

// Tap stands where a relay writes, so that it knows when a client can be told of
// the session's end. It is safe for concurrent use.
type Tap struct {
	client, upstream net.Conn
	farewell         Farewell

	asking atomic.Bool           // the client has sent something, and was sent nothing since
	ended  atomic.Pointer[error] // why; nil: it goes on
	mu     sync.Mutex            // held while the client is written to
	tail   []byte
}

// NewTap returns a tap in the way of what a relay between the two legs will write.
// Call it before the relay begins.
func NewTap(client, upstream *Leg) *Tap {
	e := &Tap{client: client.Conn, upstream: upstream.Conn, farewell: client.Farewell}
	client.write, upstream.write, client.leave = e.toClient, e.toUpstream, e.leave
	return e
}

// Ended returns why End has ended the session, nil if it has not.
func (e *Tap) Ended() error {
	if why := e.ended.Load(); why != nil {
		return *why
	}
	return nil
}

// Upstream returns the address of the database's end.
func (e *Tap) Upstream() net.Addr { return e.upstream.RemoteAddr() }

func (e *Tap) toUpstream(to io.Writer, b []byte) (int, error) {
	e.asking.Store(true)
	return to.Write(b)
}

func (e *Tap) toClient(to io.Writer, b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended.Load() != nil {
		return 0, net.ErrClosed
	}
	e.asking.Store(false)
	n, err := to.Write(b)
	kept := min(len(e.tail), max(0, tailSize-n))
	e.tail = append(e.tail[:copy(e.tail, e.tail[len(e.tail)-kept:])], b[max(0, n-tailSize):n]...)
	return n, err
}

// End ends the session, or only an idle one, with a word to its client where the
// protocol has room for one. It takes a second at most.
func (e *Tap) End(why error, onlyIdle bool) {
	if !e.mu.TryLock() { // within a message
		if !onlyIdle {
			e.ended.Store(&why)
			cut(e.client, e.upstream)
		}
		return
	}
	defer e.mu.Unlock()
	var message []byte
	idle := false
	if e.farewell != nil {
		message, idle = e.farewell(e.tail, why)
	}
	if e.ended.Load() != nil || onlyIdle && (!idle || e.asking.Load()) {
		return
	}
	e.ended.Store(&why)
	_ = e.client.SetWriteDeadline(time.Now().Add(farewellTimeout))
	if message != nil {
		_, _ = e.client.Write(message)
	}
	closeWrite(e.client)
	cut(e.client, e.upstream)
}

// leave says a last word to the client, where the protocol has room for one.
func (e *Tap) leave(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.farewell == nil || e.ended.Load() != nil {
		return
	}
	if message, _ := e.farewell(e.tail, why); message != nil {
		_ = e.client.SetWriteDeadline(time.Now().Add(farewellTimeout))
		_, _ = e.client.Write(message)
	}
}

func (l *Leg) send(b []byte) (int, error) {
	if l.write != nil {
		return l.write(l.sink, b)
	}
	return l.sink.Write(b)
}
