package proxy

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
)

const (
	// tailSize is how many of the last bytes that a client was sent are remembered.
	tailSize = 64
	// idleGrace is how long sessions that work may take to become idle, before they
	// are ended like the idle ones.
	idleGrace = time.Second
	// farewellTimeout is how long a client may take to take its last message.
	farewellTimeout = time.Second
)

// Farewell encodes why for a client whose session is ended, nil if the protocol
// allows no message now. tail holds the last bytes that the client was sent, at
// most 64; none have been relayed yet if it is empty. idle tells that the database
// seems to have answered all, and that no transaction is open.
type Farewell func(tail []byte, why error) (message []byte, idle bool)

// ErrRemoved is what the clients of a database hear when it is in the configuration
// no more.
func ErrRemoved() *fault.Error {
	return &fault.Error{Kind: fault.ShuttingDown, Message: "this database was taken out of the configuration of credproxy"}
}

// End ends the sessions that are relayed, with a word to their clients: the idle
// ones, for a second those that become idle, and then the others. It is for when the
// server accepts no longer. Logins go on until their context ends.
func (s *Server) End(why error) {
	for end := time.Now().Add(idleGrace); s.Active() > 0 && time.Now().Before(end); time.Sleep(idleGrace / 20) {
		s.endRelays(why, true)
	}
	s.endRelays(why, false)
}

func (s *Server) endRelays(why error, onlyIdle bool) {
	s.mu.Lock()
	relays := make([]*ending, 0, len(s.relays))
	for e := range s.relays {
		relays = append(relays, e)
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, e := range relays {
		wg.Go(func() { e.end(why, onlyIdle) })
	}
	wg.Wait()
}

// ending stands where a relay writes, so that it knows when a client can be told of
// the session's end.
type ending struct {
	client, upstream net.Conn
	farewell         Farewell

	asking atomic.Bool // the client has sent something, and was sent nothing since
	ended  atomic.Bool
	mu     sync.Mutex // held while the client is written to
	tail   []byte
}

// watch makes the legs of a relay known to End until done is called, which tells
// whether the session was ended.
func (s *Server) watch(client, upstream *Leg) (done func() (ended bool)) {
	e := &ending{client: client.Conn, upstream: upstream.Conn, farewell: client.Farewell}
	client.write, upstream.write = e.toClient, e.toUpstream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.relays == nil {
		s.relays = map[*ending]bool{}
	}
	s.relays[e] = true
	return func() bool {
		s.mu.Lock()
		delete(s.relays, e)
		s.mu.Unlock()
		return e.ended.Load()
	}
}

func (e *ending) toUpstream(to io.Writer, b []byte) (int, error) {
	e.asking.Store(true)
	return to.Write(b)
}

func (e *ending) toClient(to io.Writer, b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended.Load() {
		return 0, net.ErrClosed
	}
	e.asking.Store(false)
	n, err := to.Write(b)
	kept := min(len(e.tail), max(0, tailSize-n))
	e.tail = append(e.tail[:copy(e.tail, e.tail[len(e.tail)-kept:])], b[max(0, n-tailSize):n]...)
	return n, err
}

// end ends the session, or only an idle one.
func (e *ending) end(why error, onlyIdle bool) {
	if !e.mu.TryLock() { // within a message
		if !onlyIdle {
			e.ended.Store(true)
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
	if e.ended.Load() || onlyIdle && (!idle || e.asking.Load()) {
		return
	}
	e.ended.Store(true)
	_ = e.client.SetWriteDeadline(time.Now().Add(farewellTimeout))
	if message != nil {
		_, _ = e.client.Write(message)
	}
	closeWrite(e.client)
	cut(e.client, e.upstream)
}

func (l *Leg) send(b []byte) (int, error) {
	if l.write != nil {
		return l.write(l.sink, b)
	}
	return l.sink.Write(b)
}
