package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
)

// lingerTimeout is how long a client may keep its side open after the database
// has ended the session.
const lingerTimeout = 5 * time.Second

// Leg is one side of a relay: a connection, and what was read from it already.
type Leg struct {
	net.Conn
	Buffered []byte // sent to the other side first
	// Scan, on the client's leg only, looks at what the client sent before it is
	// passed on; nil passes everything. It says how many bytes to pass. The rest,
	// at most maxRest bytes, is shown again together with the bytes that follow,
	// or, if stop is true, held back for the caller of Run, who goes on with the
	// session.
	Scan func(b []byte) (pass int, stop bool)
	// Farewell, on the client's leg only, is for Tap.End; nil says nothing.
	Farewell Farewell

	write func(to io.Writer, b []byte) (int, error) // in place of to.Write
	leave func(why error)                           // says a last word
	sink  io.Writer                                 // that writes to Conn
}

// Traffic counts relayed bytes while they flow.
type Traffic struct {
	ToUpstream, ToClient atomic.Int64
}

// Outcome is how a relay ended.
type Outcome struct {
	ToUpstream, ToClient int64 // bytes
	// Withheld is what Scan held back when it stopped the relay. Both connections
	// are then as they were; nil means that the session is over.
	Withheld []byte
	// Err is nil when one side ended the session in order; else it tells which
	// connection was lost and how.
	Err error
}

// Run copies bytes both ways, in two goroutines of its own, until both directions
// have ended; the one that ends last calls done. It closes neither connection for
// good, but passes on a half-close: the end of one direction leaves the other one
// open. When the database has ended its side, a client gets 5 seconds to end its own.
//
// A direction in which nothing flows holds no buffer, and one in which something
// does allocates nothing. The stacks of those that wait matter too: Go makes one
// smaller when less than a quarter of it is used, so what waits has 1.2 KB for its
// frames, or else 4 KB more lie idle. That is why the goroutine of the login, which
// takes more, does not wait.
//
// total, shared by many sessions, is counted along.
func Run(client, upstream Leg, total *Traffic, done func(Outcome)) {
	r := &relay{client: client, upstream: upstream, done: done}
	r.client.sink, r.upstream.sink = NewWriter(client.Conn), NewWriter(upstream.Conn)
	r.left.Store(2)
	go func() { r.toUpstream(total); r.leave() }()
	go func() { r.toClient(total); r.leave() }()
}

// relay is one that runs.
type relay struct {
	client, upstream Leg
	out              Outcome
	ended            bool     // by toClient, in order or not, but for good
	errs             [2]error // of toUpstream and of toClient
	left             atomic.Int32
	done             func(Outcome)
}

// leave is called by each copier when it has ended.
func (r *relay) leave() {
	if r.left.Add(-1) > 0 {
		return
	}
	r.out.Err = errors.Join(r.errs[1], r.errs[0])
	if r.ended || r.out.Err != nil {
		r.out.Withheld = nil
	}
	if r.out.Withheld != nil {
		_ = r.upstream.SetReadDeadline(time.Time{})
	}
	r.done(r.out)
}

func (r *relay) toUpstream(total *Traffic) {
	defer r.recovered(&r.errs[0])
	withheld, readErr, _ := copyBytes(&r.out.ToUpstream, &r.upstream, &r.client, &total.ToUpstream)
	switch {
	case withheld != nil:
		r.out.Withheld = withheld
		// Between two reads of the other copier nothing is lost.
		_ = r.upstream.SetReadDeadline(Past)
	case readErr == io.EOF:
		closeSilently(r.upstream.Conn)
	case readErr != nil:
		_ = r.upstream.SetDeadline(Past) // nobody is left to answer
		r.errs[0] = lost("client", readErr)
	}
	// A failed write needs no word here: the other copier sees why.
}

// toClient has not ended the session if the other copier interrupted it.
func (r *relay) toClient(total *Traffic) {
	defer r.recovered(&r.errs[1])
	_, readErr, writeErr := copyBytes(&r.out.ToClient, &r.client, &r.upstream, &total.ToClient)
	if writeErr != nil {
		r.ended = true
		cut(r.client.Conn, r.upstream.Conn)
		r.errs[1] = lost("client", writeErr)
		return
	}
	if errors.Is(readErr, os.ErrDeadlineExceeded) {
		return // the other copier set that deadline and knows why
	}
	r.ended = true
	if errors.Is(readErr, syscall.ETIMEDOUT) && r.client.leave != nil {
		r.client.leave(errVanished)
	}
	closeWrite(r.client.Conn)
	_ = r.client.SetReadDeadline(time.Now().Add(lingerTimeout))
	_ = r.upstream.SetWriteDeadline(time.Now().Add(lingerTimeout)) // it may have stopped reading too
	if readErr != io.EOF {
		r.errs[1] = lost("database", readErr)
	}
}

// errVanished is what a client hears of whose database nothing comes any more. If it had
// its connection itself its own system would tell it.
var errVanished = &fault.Error{Kind: fault.UpstreamBroken, Message: "nothing has come from the database for too long, not even an acknowledgement; the connection was given up",
	Hint: "Connect again. limits.server_timeout in the configuration of credproxy says how long is too long."}

// recovered makes a panic of one copier the end of both.
func (r *relay) recovered(err *error) {
	if p := recover(); p != nil {
		*err = fault.FromPanic(p)
		cut(r.client.Conn, r.upstream.Conn)
	}
}

// cut makes both copiers of a relay return.
func cut(client, upstream net.Conn) {
	_ = client.SetDeadline(Past)
	_ = upstream.SetDeadline(Past)
}

// copyBytes copies from src to dst until one fails or src.Scan stops it. Exactly
// one result is not nil.
func copyBytes(n *int64, dst, src *Leg, total *atomic.Int64) (withheld []byte, readErr, writeErr error) {
	from := newChunkReader(src.Conn)
	defer from.end()
	chunk := src.Buffered
	for {
		pass, stop := len(chunk), false
		if src.Scan != nil {
			if pass, stop = src.Scan(chunk); readErr != nil && !stop {
				pass = len(chunk) // nothing follows that could tell more
			}
		}
		if pass > 0 {
			w, err := dst.send(chunk[:pass])
			*n += int64(w)
			total.Add(int64(w))
			if err != nil {
				return nil, nil, err
			}
		}
		rest := chunk[pass:]
		if stop {
			return append([]byte{}, rest...), nil, nil
		}
		if readErr != nil {
			return nil, readErr, nil
		}
		chunk, readErr = from.next(rest)
	}
}

func lost(side string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // we set that deadline, after the other side was lost or had ended
	}
	return &LostError{side, err}
}

type LostError struct {
	Side string
	err  error
}

func (e *LostError) Error() string { return "connection to the " + e.Side + " lost: " + e.err.Error() }
func (e *LostError) Unwrap() error { return e.err }

// halfCloser is a connection whose sending side can be ended.
type halfCloser interface{ CloseWrite() error }

// closeWrite ends the sending side of a connection: TLS's close_notify, then the
// FIN below it.
func closeWrite(c net.Conn) {
	for ; c != nil; c = below(c) {
		if h, ok := c.(halfCloser); ok {
			_ = h.CloseWrite()
		}
	}
}

// closeSilently ends the sending side of a connection to a database with the FIN alone, as
// a client's system does for one that is killed. A server asks its socket whether the
// client of a long statement is still there, and takes bytes that it has not read for a
// sign of life: a close_notify would keep SLEEP() and GET_LOCK() of MySQL and MariaDB
// going. What the FIN cuts off is no danger, because the messages of both protocols tell
// their lengths.
func closeSilently(c net.Conn) {
	socket := c
	for ; c != nil; c = below(c) {
		socket = c
	}
	if h, ok := socket.(halfCloser); ok {
		_ = h.CloseWrite()
	}
}

// below returns the connection that carries c, nil if c is a socket.
func below(c net.Conn) net.Conn {
	if w, ok := c.(interface{ NetConn() net.Conn }); ok {
		return w.NetConn()
	}
	return nil
}
