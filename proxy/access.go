package proxy

import (
	"errors"
	"fmt"
	"net"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/peer"
)

// Access says which users of this machine may connect.
type Access struct {
	// Owner tells the id of the user at the other end of a connection;
	// [peer.Resolver] does. nil: nobody can tell.
	Owner func(net.Conn) (uid uint32, err error)
	// UIDs are the users who may connect, each with the name that the log gives
	// it, or "". Empty: everybody.
	UIDs map[uint32]string
}

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

// Allowed reports whether the client's user may connect. Who that is was looked up
// when the client connected, if it matters. Who is not known is not allowed, unless everybody is.
// The error is a *fault.Error of kind NotAllowed or ClientGone.
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
	case errors.Is(id.err, peer.ErrGone):
		return &fault.Error{Kind: fault.ClientGone, Message: "the client left before it was logged in", Err: id.err, Silent: true}
	}
	return &fault.Error{Kind: fault.NotAllowed, Message: "only some users may connect here, and who connects is not known", Err: id.err,
		Hint: "Connect from the same machine or pod, over loopback or a unix socket; the log of credproxy says what stood in the way."}
}
