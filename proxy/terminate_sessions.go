package proxy

import (
	"sync"
	"time"

	"github.com/credproxy/credproxy/proxy/relay"
)

// idleGrace is how long sessions that work may take to become idle, before they
// are ended like the idle ones.
const idleGrace = time.Second

// Terminate ends the sessions that are relayed, with a word to their clients: the idle
// ones, for a second those that become idle, and then the others. It is for when the
// server accepts no longer. Logins go on until their context ends.
func (s *Server) Terminate(why error) {
	for end := time.Now().Add(idleGrace); s.Active() > 0 && time.Now().Before(end); time.Sleep(idleGrace / 20) {
		s.endRelays(why, true)
	}
	s.endRelays(why, false)
}

func (s *Server) endRelays(why error, onlyIdle bool) {
	s.mu.Lock()
	relays := make([]*relay.Tap, 0, len(s.relays))
	for e := range s.relays {
		relays = append(relays, e)
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, e := range relays {
		wg.Go(func() { e.End(why, onlyIdle) })
	}
	wg.Wait()
}

// watch makes the legs of a relay known to Terminate until done is called, which tells
// whether the session was ended.
func (s *Server) watch(client, upstream *relay.Leg) (done func() (ended bool)) {
	e := relay.NewTap(client, upstream)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.relays == nil {
		s.relays = map[*relay.Tap]bool{}
	}
	s.relays[e] = true
	return func() bool {
		s.mu.Lock()
		delete(s.relays, e)
		s.mu.Unlock()
		return e.Ended()
	}
}
