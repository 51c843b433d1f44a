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
	lines int       // logged
	since time.Time // of the first of them
}

// maxLines caps the lines that phases put into the log in an hour.
const maxLines = 32

// holds reports whether new logins wait.
func (w *switchover) holds() bool {
	return w.phase >= SwitchoverUnderWay && time.Now().Before(w.until)
}

// follow takes note of what the server in use says. It reports whether that server is to be
// left: the deployment that was under way leads elsewhere now.
func (m *monitor) follow(a Answer) (leave bool) {
	m.mu.Lock()
	was := m.switchover.phase
	now := a.Switchover
	if now == NoSwitchover && a.Partial {
		now = was // it may not have been in a state to say
	}
	if now == SwitchoverDone && was < SwitchoverUnderWay { // long ago
		m.mu.Unlock()
		return false
	}
	leave = now == SwitchoverDone && (was != now || m.switchover.holds())
	if now == was {
		m.mu.Unlock()
		return leave
	}
	if now >= SwitchoverUnderWay {
		m.switchover.until = time.Now().Add(m.o.Hold)
	}
	m.switchover.phase, m.switchover.green = now, a.Green
	if time.Since(m.switchover.since) > time.Hour {
		m.switchover.lines, m.switchover.since = 0, time.Now()
	}
	m.switchover.lines++
	logs := m.switchover.lines <= maxLines
	m.mu.Unlock()
	if logs {
		m.o.Log.Info("a Blue/Green switchover of the database", zap.Stringer("phase", now), zap.Bool("audit", true))
	}
	return leave
}

// mayTakeOver reports whether a server with the role may become the one in use: during a
// switchover that is not the old one, and not the new one before it is done.
func (m *monitor) mayTakeOver(ctx context.Context, s *server) bool {
	m.mu.Lock()
	holds := m.switchover.holds()
	_, old := m.members[s.addr]
	m.mu.Unlock()
	if !holds {
		return true
	}
	a, ok := m.learn(ctx, s.conn, s.Place)
	return ok && (a.Switchover == NoSwitchover && !a.Partial || a.Switchover == SwitchoverDone && !old)
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
