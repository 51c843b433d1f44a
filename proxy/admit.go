package proxy

import (
	"errors"
	"fmt"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/peer"
)

// Admit counts the session toward the limit of connections, if its user may
// connect. The error is a *fault.Error of kind TooMany or ShuttingDown, or Allowed's.
func (s *Session) Admit() error {
	s.server.leaveLobby(s.Client)
	if err := s.Allowed(); err != nil {
		return err
	}
	if s.server.draining.Load() {
		return fault.ErrShuttingDown(nil)
	}
	limit := int64(s.server.Limits.MaxConnections)
	if s.server.active.Add(1) > limit {
		s.server.active.Add(-1)
		return &fault.Error{Kind: fault.TooMany, Message: fmt.Sprintf("too many connections: limits.max_connections is %d", limit),
			Hint: "Close connections, or raise the limit in the configuration of credproxy."}
	}
	s.admitted = true
	return nil
}

// Allowed reports whether the client's user may connect. Who that is was looked up
// when the client connected. Who is not known is not allowed, unless everybody is.
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
