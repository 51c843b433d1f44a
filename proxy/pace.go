package proxy

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// refusedLines is how many lines the log gets in a second about clients that may
// not connect.
const refusedLines = 10

// pace keeps clients that are refused and try on from filling a disk.
type pace struct {
	mu      sync.Mutex
	since   time.Time
	lines   int
	skipped int
}

// log returns where to write a line at now: nowhere if there were enough. The next
// line then says how many are missing.
func (p *pace) log(log *zap.Logger, now time.Time) *zap.Logger {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.since) >= time.Second {
		p.since, p.lines = now, 0
	}
	if p.lines++; p.lines > refusedLines {
		p.skipped++
		return zap.NewNop()
	}
	if p.skipped > 0 {
		log = log.With(zap.Int("lines_left_out", p.skipped))
		p.skipped = 0
	}
	return log
}
