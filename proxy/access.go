package proxy

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
)

// Access says which users of this machine may connect.
type Access struct {
	// Owner tells the id of the user at the other end of a connection; [Peers]
	// does. nil: nobody can tell.
	Owner func(net.Conn) (uid uint32, err error)
	// UIDs are the users who may connect, each with the name that the log gives
	// it, or "". Empty: everybody.
	UIDs map[uint32]string
}

// errPeerGone is a client that closed its connection before its user was known.
var errPeerGone = errors.New("the client closed its connection")

// identity is who the client of a session is.
type identity struct {
	uid uint32
	err error // why it is not known
}

func (a Access) identify(c net.Conn) identity {
	if a.Owner == nil {
		return identity{err: errors.New("nothing here tells the users of connections")}
	}
	uid, err := a.Owner(c)
	return identity{uid, err}
}

// fields describes the client for the log.
func (a Access) fields(id identity) []zap.Field {
	if id.err != nil {
		return nil
	}
	fields := []zap.Field{zap.Uint32("peer_uid", id.uid)}
	if name := a.UIDs[id.uid]; name != "" {
		fields = append(fields, zap.String("peer_user", name))
	}
	return fields
}

// Allowed tells whether the client's user may connect. Who that is was looked up
// when the client connected. Who is not known is not allowed, unless everybody is.
// The error is an *Error of kind NotAllowed or ClientGone.
func (s *Session) Allowed() error {
	access, id := s.server.Access, s.identity
	if len(access.UIDs) == 0 {
		return nil
	}
	if _, ok := access.UIDs[id.uid]; ok && id.err == nil {
		return nil
	}
	switch {
	case id.err == nil:
		return &fault.Error{Kind: fault.NotAllowed, Message: fmt.Sprintf("the user with id %d may not connect here", id.uid),
			Hint: "Add the user to access.uids in the configuration of credproxy."}
	case errors.Is(id.err, errPeerGone):
		return &fault.Error{Kind: fault.ClientGone, Message: "the client left before it was logged in", Err: id.err, Silent: true}
	}
	return &fault.Error{Kind: fault.NotAllowed, Message: "only some users may connect here, and who connects is not known", Err: id.err,
		Hint: "Connect from the same machine or pod, over loopback or a unix socket; the log of credproxy says what stood in the way."}
}

// refusedLines is how many lines the log gets in a second about clients that may
// not connect.
const refusedLines = 10

// pace keeps clients that are refused and try on from filling a disk.
type pace struct {
	mu      sync.Mutex
	since   time.Time
	lines   int
	skipped int
}

// log returns where to write a line at now: nowhere if there were enough. The next
// line then says how many are missing.
func (p *pace) log(log *zap.Logger, now time.Time) *zap.Logger {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.since) >= time.Second {
		p.since, p.lines = now, 0
	}
	if p.lines++; p.lines > refusedLines {
		p.skipped++
		return zap.NewNop()
	}
	if p.skipped > 0 {
		log = log.With(zap.Int("lines_left_out", p.skipped))
		p.skipped = 0
	}
	return log
}
