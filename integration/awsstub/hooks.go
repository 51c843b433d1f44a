package awsstub

import (
	"context"
	"sync"
)

// hooks are what a test has the server call. The server's mutex guards onRotate and rotating.
type hooks struct {
	lifetime  context.Context
	end       context.CancelFunc
	onRotate  func(context.Context, Rotation)
	rotating  map[string]running // by ARN, the last that was begun
	rotations sync.WaitGroup

	mu      sync.Mutex // guards onPoint
	onPoint func(Point) bool
}

// running is a rotation that the hook runs, or is about to.
type running struct {
	token string
	ended chan struct{}
}

// Point is a place in the course of a call that is performed: right before, or right after with its answer not yet sent.
type Point struct {
	Operation   string
	SecretID    string // as given
	AccessKeyID string
	After       bool
}

// String is such as "before PutSecretValue".
func (p Point) String() string {
	if p.After {
		return "after " + p.Operation
	}
	return "before " + p.Operation
}

// OnPoint has f called at each Point, on the goroutine that serves the call, which waits for it: a test can count the
// points, and end the caller's process at any one of them. If f returns true the call ends there without an answer:
// before, it is not performed; after, it is. Calls that were refused for their signature or met a fault do not get so
// far. It replaces an earlier f; nil ends it.
func (s *Server) OnPoint(f func(Point) (cut bool)) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.onPoint = f
}

// reached tells the hook that x is at a point, and reports whether it ends there. No lock is held.
func (s *Server) reached(x *exchange, after bool) (cut bool) {
	s.hooks.mu.Lock()
	f := s.hooks.onPoint
	s.hooks.mu.Unlock()
	return f != nil && f(Point{Operation: x.call.Operation, SecretID: x.named.id(), AccessKeyID: x.call.AccessKeyID, After: after})
}
