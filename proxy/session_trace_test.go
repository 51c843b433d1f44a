package proxy

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/tracing"
)

// TestTraces has sessions that log in, fail, panic, and ask for nothing: each but the last
// leaves one trace, also where more comes after the login.
func TestTraces(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	refused := &fault.Error{Kind: fault.UpstreamRefused, Message: "the database refused the login"}
	for name, tt := range map[string]struct {
		serve engineFunc
		want  []fault.Kind // of each trace
	}{
		"in": {func(ctx context.Context, s *Session) error {
			s.Requested(ctx, "orders", "traceparent='"+parent+"'")
			s.LoggedIn()
			return errors.New("later")
		}, []fault.Kind{fault.OK}},
		"refused": {func(ctx context.Context, s *Session) error {
			s.Requested(ctx, "orders", parent)
			return refused
		}, []fault.Kind{fault.UpstreamRefused}},
		"panic": {func(ctx context.Context, s *Session) error {
			s.Requested(ctx, "orders", parent)
			panic("a defect")
		}, []fault.Kind{fault.Internal}},
		"port check": {func(_ context.Context, s *Session) error { s.Quiet(); return nil }, nil},
	} {
		traces := make(chan *tracing.Trace, 10)
		s, _ := newServer(tt.serve)
		s.Traced = func(t *tracing.Trace) { traces <- t }
		ln := listen(t)
		stop := s.Serve(t.Context(), t.Context(), ln)
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Read(make([]byte, 1)) // until the session has ended
		_ = c.Close()
		stop()
		s.Wait()
		if len(traces) != len(tt.want) {
			t.Errorf("%s: %d traces, want %d", name, len(traces), len(tt.want))
			continue
		}
		for _, kind := range tt.want {
			trace := <-traces
			got := fault.OK
			if err := trace.Spans[0].Err; err != nil {
				got = fault.As(err).Kind
			}
			if got != kind || trace.Parent != parent || len(trace.Spans[0].Attributes) != 2 {
				t.Errorf("%s: %s, parent %q, %v", name, got, trace.Parent, trace.Spans[0].Attributes)
			}
		}
	}
}
