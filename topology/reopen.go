package topology

import (
	"context"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

// Reopen has the session that watches the server in use end, and another one begin: the credential
// that it began with is not to be used any more.
func (s *Servers) Reopen() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.outdated = true
	s.mu.Unlock()
	s.kick()
}

// reopenOutdated does what [Servers.Reopen] has asked for. If it fails the next look at the server finds
// no session.
func (m *monitor) reopenOutdated(ctx context.Context, at *server) {
	m.mu.Lock()
	outdated := m.outdated
	m.outdated = false
	m.mu.Unlock()
	if outdated {
		_ = m.reopen(ctx, at)
	}
}

// reopen ends the session at the server in use, and logs in there anew.
func (m *monitor) reopen(ctx context.Context, at *server) error {
	m.hangUp()
	opening, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return m.login(opening, func(ctx context.Context, cred *secrets.Credential) error {
		again, _, err := m.ask(ctx, cred, Route{Place: at.Place, Addr: at.addr})
		switch {
		case err != nil:
			return err
		case again.id != at.id && m.o.Role == Writer: // many readers may share an address
			_ = again.conn.Close()
			return &fault.Error{Kind: fault.Unreachable, Message: "another server answers at its address"}
		}
		at.conn, m.watching = again.conn, at // what its role is the next look says
		return nil
	})
}
