package awsstub

import (
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// queuedMessages caps a queue that nobody reads: the oldest go first.
const queuedMessages = 10_000

// queues are the standard queues of the account.
type queues struct {
	mu   sync.Mutex
	byID map[string]*queue
}

func newQueues() *queues { return &queues{byID: make(map[string]*queue)} }

// find returns the queue of that name, or nil.
func (qs *queues) find(name string) *queue {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	return qs.byID[name]
}

func (qs *queues) sendAll(body string) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	for _, q := range qs.byID {
		q.send(body)
	}
}

// queue holds messages until they are deleted.
type queue struct {
	mu       sync.Mutex
	messages []*message    // oldest first
	grown    chan struct{} // closed and replaced when a message comes
}

type message struct {
	id, body string
	handle   string    // of the last receipt; older ones delete nothing
	visible  time.Time // from when on it may be received
}

func (q *queue) send(body string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages = append(q.messages, &message{id: uuid.NewString(), body: body})
	if len(q.messages) > queuedMessages {
		q.messages = q.messages[1:]
	}
	close(q.grown)
	q.grown = make(chan struct{})
}

// receive hides and returns up to n messages that are visible. If there are none, grown tells of the next to come, and
// next is when one may be visible again.
func (q *queue) receive(n int, hide time.Duration, now time.Time) (got []receivedMessage, grown <-chan struct{}, next time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	next = maxLongPoll
	for _, m := range q.messages {
		if left := m.visible.Sub(now); left > 0 {
			next = min(next, left)
			continue
		}
		m.visible, m.handle = now.Add(hide), handlePrefix+randomText(60)
		got = append(got, receivedMessage{m.id, m.handle, bodySum(m.body), m.body})
		if len(got) == n {
			break
		}
	}
	return got, q.grown, next
}

// remove deletes the message last received with handle. A handle that is old deletes nothing, and is no error.
func (q *queue) remove(handle string) *apiError {
	if !strings.HasPrefix(handle, handlePrefix) {
		return refuse("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, m := range q.messages {
		if m.handle == handle {
			q.messages = append(q.messages[:i], q.messages[i+1:]...)
			break
		}
	}
	return nil
}

// CreateQueue makes an empty queue and returns its URL. From then on it gets the events of every secret, as with a rule
// of EventBridge that matches them all. A queue that exists stays as it is.
func (s *Server) CreateQueue(name string) (url string) {
	s.queues.mu.Lock()
	defer s.queues.mu.Unlock()
	if s.queues.byID[name] == nil {
		s.queues.byID[name] = &queue{grown: make(chan struct{})}
	}
	return s.url + "/" + AccountID + "/" + name
}

// DeleteQueue removes a queue with its messages. Calls that wait for one go on waiting.
func (s *Server) DeleteQueue(name string) {
	s.mustFindQueue(name)
	s.queues.mu.Lock()
	defer s.queues.mu.Unlock()
	delete(s.queues.byID, name)
}

// Send puts a message into a queue.
func (s *Server) Send(name, body string) { s.mustFindQueue(name).send(body) }

// Queued is the number of messages in a queue, those received and not yet deleted among them.
func (s *Server) Queued(name string) int {
	q := s.mustFindQueue(name)
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.messages)
}

func (s *Server) mustFindQueue(name string) *queue {
	q := s.queues.find(name)
	if q == nil {
		panic("awsstub: no queue " + name)
	}
	return q
}
