package pool_test

import (
	"context"
	"testing"
)

// visitor is a client: who it is at the server, and how it leaves.
type visitor struct {
	user, session string
	leave         func()
}

// visit connects to PostgreSQL and asks.
func (s *stand) visit(t *testing.T) visitor {
	t.Helper()
	c := s.connect(t)
	return visitor{ask(t, c, "SELECT current_user"), ask(t, c, pid), func() { must(t, c.Close(context.Background())) }}
}

// visit connects to MySQL and asks.
func (s *myStand) visit(t *testing.T) visitor {
	t.Helper()
	c := s.open(t, nil)
	return visitor{c.ask(t, "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)"), c.ask(t, connectionID), func() { c.close(t) }}
}
