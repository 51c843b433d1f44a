package proxy

import (
	"context"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/tracing"
)

// traced begins to record the session's login, if somebody listens, and returns the context
// of its steps.
func (s *Session) traced(ctx context.Context) context.Context {
	if s.server.Traced == nil {
		return ctx
	}
	s.login = tracing.NewLogin(s.Accepted)
	ctx = s.login.Context(ctx)
	tracing.Of(ctx).Number("credproxy.session", int64(s.id))
	return ctx
}

// Requested says for the trace of the login what its client wants. name is what clients may
// put a traceparent into.
func (s *Session) Requested(ctx context.Context, database, name string) {
	if s.login == nil {
		return
	}
	tracing.Of(ctx).Text("db.namespace", fault.Clip(database))
	s.login.SetParent(tracing.FindTraceparent(name))
}

// endTrace ends the recording of the login, if there is one. A connection that asked for no
// session leaves no trace.
func (s *Session) endTrace(err error) {
	if s.login == nil {
		return
	}
	t := s.login.End(err)
	s.login = nil
	if t != nil && !s.quiet {
		s.server.Traced(t)
	}
}
