package failover_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/sidecar"
)

const (
	writers  = 8                     // clients of a load
	patience = 15 * time.Second      // of a client, for a session and for a write
	breath   = 50 * time.Millisecond // between two writes
)

// visit is a client's try to write.
type visit struct {
	client   int
	begun    time.Time // when the client began to open the session
	ended    time.Time
	in       bool   // a session was had
	host     string // of its server
	reader   bool   // the server said so when the session was opened
	wrote    bool
	readOnly bool // the write was refused as one at a reader
	err      error
}

// load is clients who write, over and over.
type load struct {
	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	visits []visit
}

// writeTo starts clients that open a session for each write, or, kept, keep theirs until it
// fails. None tries a write twice.
func writeTo(t *testing.T, e engine, d door, kept bool) *load {
	t.Helper()
	running, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	for client := range writers {
		l.all.Go(func() {
			for number := 0; running.Err() == nil; {
				number = l.session(running, e, d, client, number, kept)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

// end ends the load and waits for its clients.
func (l *load) end() {
	l.stop()
	l.all.Wait()
}

// session opens a session and writes, once or until it fails. It returns the next number.
func (l *load) session(running context.Context, e engine, d door, client, number int, kept bool) int {
	v := visit{client: client, begun: time.Now()}
	s, err := open(e, d, &v)
	if err != nil {
		v.err = err
		l.add(v)
		wait(running, breath)
		return number
	}
	defer s.close()
	for {
		number++
		v.err = write(s, client, number)
		v.wrote, v.readOnly = v.err == nil, readOnly(v.err)
		l.add(v)
		wait(running, breath)
		if !kept || v.err != nil || running.Err() != nil {
			return number
		}
	}
}

// open opens a session and asks who the server is.
func open(e engine, d door, v *visit) (session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := e.connect(ctx, d)
	if err != nil {
		return nil, err
	}
	v.in = true
	if v.host, v.reader, err = s.who(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func write(s session, client, number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.write(ctx, client, number)
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (l *load) add(v visit) {
	v.ended = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.visits = append(l.visits, v)
}

// now is how many visits there have been.
func (l *load) now() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.visits)
}

// since are the visits after the first n.
func (l *load) since(n int) []visit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.visits[n:])
}

// writeAt reports whether, after the first n visits, each client has written at a host.
func (l *load) writeAt(host string, n int) bool {
	clients := map[int]bool{}
	for _, v := range l.since(n) {
		if v.wrote && v.host == host {
			clients[v.client] = true
		}
	}
	return len(clients) == writers
}

// awaitWrites waits until each client of each load has written at a host, from now on.
func awaitWrites(t *testing.T, host string, loads ...*load) {
	t.Helper()
	for _, l := range loads {
		n := l.now()
		sidecar.Await(t, "writes of each client at "+host, func() bool { return l.writeAt(host, n) })
	}
}
