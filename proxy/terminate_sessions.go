package proxy

import (
	"net"
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
		s.EndAt(why, true, anywhere)
	}
	s.EndAt(why, false, anywhere)
}

func anywhere(net.Addr, time.Time) bool { return true }

// EndAt ends sessions that are relayed, or only the idle ones, with a word to their clients:
// those that at picks by the address of the database's end, and by when the relay began. It takes a second
// at most.
func (s *Server) EndAt(why error, onlyIdle bool, at func(upstream net.Addr, began time.Time) bool) {
	s.mu.Lock()
	relays := make([]*relay.Tap, 0, len(s.relays))
	for e, began := range s.relays {
		if at(e.Upstream(), began) {
			relays = append(relays, e)
		}
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, e := range relays {
		wg.Go(func() { e.End(why, onlyIdle) })
	}
	wg.Wait()
}

// watch makes the legs of a relay known to Terminate and EndAt until done is called, which
// tells why the session was ended, nil if it was not.
func (s *Server) watch(client, upstream *relay.Leg) (done func() (why error)) {
	e := relay.NewTap(client, upstream)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.relays == nil {
		s.relays = map[*relay.Tap]time.Time{}
	}
	s.relays[e] = time.Now()
	return func() error {
		s.mu.Lock()
		delete(s.relays, e)
		s.mu.Unlock()
		return e.Ended()
	}
}
