package pool

import (
	"container/list"
	"errors"
	"time"
)

// Where clients come and go at once, one that comes back is often there before the session is
// reset that it has left, or before its good-bye was read. To wait for that takes less time
// than a login, and spares the server one. While fewer than MaxIdle are open, one more is of use.

// A client waits for a session to come back before it logs in, and expects the next so long
// after one has come back, for as long as a login takes, lately: where all are short of processors
// a login is what makes that worse. Within these bounds:
const (
	soonTimeout     = 20 * time.Millisecond
	soonTimeoutMost = 500 * time.Millisecond
)

// soonFor returns how long that is. p.mu is held.
func (p *Pool) soonFor() time.Duration { return min(max(p.login, soonTimeout), soonTimeoutMost) }

// loggedIn learns how long logins take, of one that has just ended. p.mu is held.
func (p *Pool) loggedIn(took time.Duration) { p.login += (took - p.login) / 4 }

// errNotSoon is the error of who has waited for soonFor.
var errNotSoon = errors.New("no session came back in time")

// isSoon reports whether a session of that key may be expected to come back soon, and one more
// would be too many to be kept. p.mu is held.
func (p *Pool) isSoon(key string) bool {
	return p.open >= p.o.MaxIdle && key == p.returnedOf && time.Since(p.returned) < p.soonFor()
}

// awaitReturn puts a waiter for a session that comes back into its queue. p.mu is held.
func (p *Pool) awaitReturn(key string) *waiter {
	w := &waiter{key: key, lease: make(chan *Lease, 1), soon: true, patience: p.soonFor()}
	p.soon.PushBack(w)
	return w
}

// firstSoon takes who has waited longest for a session of that key to come back out of the
// queue, nil if nobody does. p.mu is held.
func (p *Pool) firstSoon(key string) *waiter {
	for e := p.soon.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*waiter); w.key == key {
			p.soon.Remove(e)
			return w
		}
	}
	return nil
}

// leave takes w out of a queue, and reports whether it was there.
func leave(queue *list.List, w *waiter) bool {
	for e := queue.Front(); e != nil; e = e.Next() {
		if e.Value == w {
			queue.Remove(e)
			return true
		}
	}
	return false
}
