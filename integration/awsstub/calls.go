package awsstub

import (
	"sync"
	"time"
)

// Any stands for all operations, in Calls, Inject and ClearFaults.
const Any = "*"

// loggedCalls caps the log: a stand-in left running by hand must not grow. Counts are not affected.
const loggedCalls = 10_000

// Results of a call that was not answered, beside "OK" and AWS's error codes.
const (
	ResultOK      = "OK"
	ResultPending = "pending" // still being served: delayed, or hanging
	ResultHung    = "hung"    // hung until the client left
	ResultDropped = "dropped"
)

// Call is one request as the server saw it. It is recorded when it has arrived whole, its result before the answer is
// sent, so a client that has its answer finds it here.
type Call struct {
	Time        time.Time
	Operation   string // AWS's name for it; "Unknown" if there is none
	AccessKeyID string // as claimed; "" when unsigned
	SecretID    string // as given: name or ARN; several, of a batch, with commas between
	Stage       string // as given
	VersionID   string // the one served; else as given
	Result      string // ResultOK, another Result constant, or the error code of the JSON protocol
}

// callLog counts calls and keeps the newest.
type callLog struct {
	onCall func(Call)

	mu     sync.Mutex
	counts map[string]int
	log    []*Call
}

func newCallLog(onCall func(Call)) *callLog {
	return &callLog{onCall: onCall, counts: make(map[string]int)}
}

func (l *callLog) begin(c Call) *Call {
	c.Result = ResultPending
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[c.Operation]++
	l.counts[Any]++
	if len(l.log) == loggedCalls {
		l.log = append(l.log[:0:0], l.log[loggedCalls/2:]...)
	}
	l.log = append(l.log, &c)
	return &c
}

// end sets the result, and the version served if one was.
func (l *callLog) end(c *Call, result, versionID string) {
	l.mu.Lock()
	c.Result = result
	if versionID != "" {
		c.VersionID = versionID
	}
	done := *c
	l.mu.Unlock()
	if l.onCall != nil {
		l.onCall(done)
	}
}

// Calls is the number of calls of op since the start or the last ResetCalls, whatever came of them.
func (s *Server) Calls(op string) int {
	s.mustKnow(op)
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return s.calls.counts[op]
}

// Log is the newest calls, at most 10,000, oldest first.
func (s *Server) Log() []Call {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	log := make([]Call, len(s.calls.log))
	for i, c := range s.calls.log {
		log[i] = *c
	}
	return log
}

// ResetCalls forgets counts and log.
func (s *Server) ResetCalls() {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	clear(s.calls.counts)
	s.calls.log = nil
}

func (s *Server) mustKnow(op string) {
	if _, ok := s.operations[op]; !ok && op != Any && op != opUnknown {
		panic("awsstub: no operation " + op)
	}
}
