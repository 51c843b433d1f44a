package logging

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// PaceLines is how many lines a second a [Pace] lets through.
const PaceLines = 10

// Pace limits lines of one kind, whose cause somebody else repeats at will. The zero
// value is ready to use.
type Pace struct {
	mu      sync.Mutex
	since   time.Time
	lines   int
	skipped int
}

// Log returns where to write a line at now: nowhere if there were enough. The next
// line then says how many are missing.
func (p *Pace) Log(log *zap.Logger, now time.Time) *zap.Logger {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.since) >= time.Second {
		p.since, p.lines = now, 0
	}
	if p.lines++; p.lines > PaceLines {
		p.skipped++
		return zap.NewNop()
	}
	if p.skipped > 0 {
		log = log.With(zap.Int("lines_left_out", p.skipped))
		p.skipped = 0
	}
	return log
}
