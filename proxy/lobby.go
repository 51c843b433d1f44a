package proxy

import (
	"container/list"
	"net"
	"time"
)

// lobby is how many connections that have not asked for anything yet may exist beside the
// sessions and the room for more of them: clients who all come at once are about to ask.
// For one more, the one that has waited longest is closed: who connects and says nothing
// keeps nobody out.
const lobby = 256

// lobbyGrace is how long a client that was accepted before a server drains may
// take to ask for a session.
const lobbyGrace = time.Second

// Drain admits no more sessions but those of clients who have been accepted and ask within
// a second. Others hear that credproxy is shutting down; cancels are served. Sessions
// under way go on, and drained is closed when there is none.
func (s *Server) Drain() (drained <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained == nil {
		s.drained = make(chan struct{})
		now := time.Now()
		s.drainedFrom.Store(&now)
		if s.active.Load() == 0 {
			close(s.drained)
		}
	}
	return s.drained
}

// draining reports whether a client who was accepted at that time gets no session.
func (s *Server) draining(accepted time.Time) bool {
	from := s.drainedFrom.Load()
	return from != nil && (accepted.After(*from) || time.Since(*from) > lobbyGrace)
}

// leave ends an admitted session.
func (s *Server) leave() {
	if s.active.Add(-1) > 0 || s.drainedFrom.Load() == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.drained:
	default:
		close(s.drained)
	}
}

// CloseLobby is for when the server accepts no longer: who has been accepted gets a second
// to ask for a session, and then is closed; sessions under way go on.
func (s *Server) CloseLobby() {
	s.Drain()
	time.AfterFunc(lobbyGrace, s.closeLobbyNow)
}

func (s *Server) closeLobbyNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.waiting {
		_ = conn.Close()
	}
}

func (s *Server) enterLobby(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
	}
	if s.waiting == nil {
		s.waiting = map[net.Conn]*list.Element{}
	}
	room := max(0, s.Limits.MaxConnections-int(s.active.Load()))
	if len(s.waiting) >= lobby+room {
		_ = s.longestWaiting().Close() // its own goroutine ends it
	}
	s.waiting[conn] = s.arrivals.PushBack(conn)
}

// longestWaiting takes a connection out of the lobby. s.mu is held.
func (s *Server) longestWaiting() net.Conn {
	first := s.arrivals.Remove(s.arrivals.Front()).(net.Conn)
	delete(s.waiting, first)
	return first
}

func (s *Server) leaveLobby(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if place := s.waiting[conn]; place != nil {
		s.arrivals.Remove(place)
		delete(s.waiting, conn)
	}
}
