package awsstub

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

// FaultKind is what goes wrong.
type FaultKind int

// The kinds of fault. Errors that AWS gives come with AWS's code, text and status for the service called.
const (
	None              FaultKind = iota // nothing: only the delay counts
	Throttle                           // ThrottlingException
	InternalError                      // 500 InternalServiceError
	Unavailable                        // 503
	Hang                               // no answer until the client leaves or the server closes
	Drop                               // the connection is closed without an answer
	AccessDenied                       // as if no policy allowed the call
	KMSAccessDenied                    // the secret may be read, its key may not be used
	DecryptionFailure                  // the key is disabled or gone
	ExpiredToken                       // as if the caller's credentials had just expired
)

// Fault is one disturbance of an operation.
type Fault struct {
	Kind  FaultKind
	Delay time.Duration // first wait so long, or until the client leaves
	Times int           // for so many calls; 0: until ClearFaults
	After bool          // the operation is performed first: what is lost or replaced is its answer
}

var (
	errHung    = errors.New(ResultHung)
	errDropped = errors.New(ResultDropped)
)

// faultQueue holds the faults of each operation, in the order they were injected; the first is the one at work.
type faultQueue struct {
	mu     sync.Mutex
	queues map[string][]Fault
}

func newFaultQueue() *faultQueue { return &faultQueue{queues: make(map[string][]Fault)} }

// next takes the fault for one call of op; an operation's own faults come before those for Any.
func (q *faultQueue) next(op string) Fault {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, name := range []string{op, Any} {
		queue := q.queues[name]
		if len(queue) == 0 {
			continue
		}
		f := queue[0]
		if f.Times == 1 {
			q.queues[name] = queue[1:]
		} else if f.Times > 1 {
			queue[0].Times--
		}
		return f
	}
	return Fault{}
}

// Inject makes f happen to calls of op, or Any. Faults of one operation happen in the order they were injected, each
// for its number of times. They come after the check of the signature, so a caller AWS does not know never meets one.
func (s *Server) Inject(op string, f Fault) {
	s.mustKnow(op)
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.queues[op] = append(s.faults.queues[op], f)
}

// ClearFaults ends the faults of the operations named, or all faults. Calls that already hang or wait go on doing so.
func (s *Server) ClearFaults(ops ...string) {
	for _, op := range ops {
		s.mustKnow(op)
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	for _, op := range ops {
		delete(s.faults.queues, op)
	}
	if len(ops) == 0 {
		clear(s.faults.queues)
	}
}

// disturb lets f happen to x. nil: go on.
func (s *Server) disturb(x *exchange, f Fault) error {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-x.r.Context().Done():
			return errHung
		case <-s.stop:
			return errHung
		}
	}
	switch f.Kind {
	case Hang:
		select {
		case <-x.r.Context().Done():
		case <-s.stop:
		}
		return errHung
	case Drop:
		return errDropped
	}
	if e := f.Kind.answer(x, s); e != nil {
		return e
	}
	return nil
}

// answer is the error AWS gives for a fault of this kind, or nil.
func (k FaultKind) answer(x *exchange, s *Server) *apiError {
	switch k {
	case Throttle:
		return refuse("ThrottlingException", "Rate exceeded")
	case InternalError:
		return &apiError{http.StatusInternalServerError, "InternalServiceError", "An error occurred on the server side."}
	case Unavailable:
		return &apiError{http.StatusServiceUnavailable, "ServiceUnavailableException", "The request has failed due to a temporary failure of the server."}
	case AccessDenied:
		if x.operation.unsigned {
			return refuse("AccessDeniedException", "Not authorized to perform %s", strings.TrimPrefix(x.operation.service+":"+x.call.Operation, ":"))
		}
		return notAuthorized(x.caller.ARN, x.operation.service+":"+x.call.Operation, s.resource(x))
	case KMSAccessDenied:
		return refuse("AccessDeniedException", "Access to KMS is not allowed")
	case DecryptionFailure:
		return refuse("DecryptionFailure", "Secrets Manager can't decrypt the protected secret text using the provided KMS key.")
	case ExpiredToken:
		return expiredToken()
	}
	return nil
}
