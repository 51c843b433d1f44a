package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// relayBuffer is the size of one read, in bytes: two full TLS records.
	relayBuffer = 32 << 10
	// lingerTimeout is how long a client may keep its side open after the
	// database has ended the session.
	lingerTimeout = 5 * time.Second
)

// Leg is one side of a relay: a connection, and what was read from it already.
type Leg struct {
	net.Conn
	Buffered []byte // sent to the other side first
}

// Traffic counts relayed bytes while they flow.
type Traffic struct {
	ToUpstream, ToClient atomic.Int64
}

// Outcome is how a relay ended.
type Outcome struct {
	ToUpstream, ToClient int64 // bytes
	// Err is nil when one side ended the session in order; else it tells which
	// connection was lost and how.
	Err error
}

// Relay copies bytes both ways until both directions have ended, and returns
// when both copiers have. It closes neither connection for good, but passes on a
// half-close: the end of one direction leaves the other one open. When the
// database has ended its side, a client gets 5 seconds to end its own.
//
// total, shared by many sessions, is counted along.
func Relay(client, upstream Leg, total *Traffic) Outcome {
	var out Outcome
	var toUpstream, toClient error
	var copiers sync.WaitGroup
	copiers.Go(func() {
		toUpstream = relayToUpstream(&out.ToUpstream, client, upstream, &total.ToUpstream)
	})
	toClient = relayToClient(&out.ToClient, client, upstream, &total.ToClient)
	copiers.Wait()
	out.Err = errors.Join(toClient, toUpstream)
	return out
}

func relayToUpstream(n *int64, client, upstream Leg, total *atomic.Int64) error {
	readErr, _ := copyBytes(n, upstream, client, total)
	switch readErr {
	case nil: // a write failed: the other copier sees why
		return nil
	case io.EOF:
		closeWrite(upstream.Conn)
		return nil
	}
	_ = upstream.SetDeadline(expired) // nobody is left to answer
	return lost("client", readErr)
}

func relayToClient(n *int64, client, upstream Leg, total *atomic.Int64) error {
	readErr, writeErr := copyBytes(n, client, upstream, total)
	if writeErr != nil {
		_ = upstream.SetDeadline(expired)
		_ = client.SetDeadline(expired)
		return lost("client", writeErr)
	}
	closeWrite(client.Conn)
	_ = client.SetReadDeadline(time.Now().Add(lingerTimeout))
	if readErr != io.EOF {
		return lost("database", readErr)
	}
	return nil
}

// expired is a deadline that ends what waits on a connection at once.
var expired = time.Unix(1, 0)

// copyBytes copies from src to dst until one fails. Exactly one error is not nil.
func copyBytes(n *int64, dst net.Conn, src Leg, total *atomic.Int64) (readErr, writeErr error) {
	chunk := src.Buffered
	buf := make([]byte, relayBuffer)
	for {
		if len(chunk) > 0 {
			w, err := dst.Write(chunk)
			*n += int64(w)
			total.Add(int64(w))
			if err != nil {
				return nil, err
			}
		}
		if readErr != nil {
			return readErr, nil
		}
		var r int
		r, readErr = src.Read(buf)
		chunk = buf[:r]
	}
}

func lost(side string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // we set that deadline: the other copier knows why
	}
	return &lostError{side, err}
}

type lostError struct {
	side string
	err  error
}

func (e *lostError) Error() string { return "connection to the " + e.side + " lost: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// closeWrite ends the sending side of a connection: TLS's close_notify, then the
// FIN below it.
func closeWrite(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		_ = t.CloseWrite()
		c = t.NetConn()
	}
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
}
