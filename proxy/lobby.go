package proxy

import (
	"net"
	"time"
)

// lobby is how many connections beyond MaxConnections may exist while they have
// not asked for anything yet, or only for a cancel. More are closed unheard.
const lobby = 256

// lobbyGrace is how long a client that was accepted before a server drains may
// take to ask for a session.
const lobbyGrace = time.Second

// CloseLobby is for when the server accepts no longer: who has been accepted gets a second
// to ask for a session, and then is closed; sessions under way go on.
func (s *Server) CloseLobby() { time.AfterFunc(lobbyGrace, s.closeLobbyNow) }

func (s *Server) closeLobbyNow() {
	s.draining.Store(true)
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
		s.waiting = map[net.Conn]bool{}
	}
	s.waiting[conn] = true
}

func (s *Server) leaveLobby(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, conn)
}
