package topology

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// switchover is how far a Blue/Green deployment has got, as the server in use says.
type switchover struct {
	phase Switchover
	until time.Time // logins wait no longer than that
	green *Place
}

// holds reports whether new logins wait.
func (w *switchover) holds() bool {
	return w.phase >= SwitchoverUnderWay && time.Now().Before(w.until)
}

// follow takes note of what the server in use says. It reports whether that server is to be
// left: the deployment that was under way leads elsewhere now.
func (m *monitor) follow(a Answer) (leave bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.switchover.phase
	switch {
	case a.Switchover == SwitchoverDone && was < SwitchoverUnderWay:
		return false // long ago
	case a.Switchover == was:
		return was == SwitchoverDone && m.switchover.holds()
	case a.Switchover == SwitchoverUnderWay:
		m.switchover.until = time.Now().Add(m.o.Hold)
	}
	m.switchover.phase, m.switchover.green = a.Switchover, a.Green
	m.o.Log.Info("a Blue/Green switchover of the database", zap.Stringer("phase", a.Switchover), zap.Bool("audit", true))
	return a.Switchover == SwitchoverDone
}

// mayTakeOver reports whether a server with the role may become the one in use: during a
// switchover that is not the old one, and not the new one before it is done.
func (m *monitor) mayTakeOver(ctx context.Context, s *server) bool {
	m.mu.Lock()
	holds, old := m.switchover.holds(), m.members[s.addr]
	m.mu.Unlock()
	if !holds {
		return true
	}
	a := m.learn(ctx, s.conn, s.Place)
	return a.Switchover == NoSwitchover || a.Switchover == SwitchoverDone && !old
}

// String returns the phase in words.
func (w Switchover) String() string {
	switch w {
	case SwitchoverInitiated:
		return "initiated"
	case SwitchoverUnderWay:
		return "under way"
	case SwitchoverDone:
		return "done"
	}
	return "none"
}
