package proxy

import (
	"fmt"

	"github.com/credproxy/credproxy/proxy/fault"
)

// Admit counts the session toward the limit of connections, if its user may
// connect. The error is a *fault.Error of kind TooMany or ShuttingDown, or Allowed's.
func (s *Session) Admit() error {
	s.server.leaveLobby(s.Client)
	if err := s.Allowed(); err != nil {
		return err
	}
	if s.server.draining(s.Accepted) {
		return fault.ErrShuttingDown(nil)
	}
	limit := int64(s.server.Limits.MaxConnections)
	if s.server.active.Add(1) > limit {
		s.server.leave()
		return &fault.Error{Kind: fault.TooMany, Message: fmt.Sprintf("too many connections: limits.max_connections is %d", limit),
			Hint: "Close connections, or raise the limit in the configuration of credproxy."}
	}
	s.admitted = true
	return nil
}
