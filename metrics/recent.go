package metrics

import (
	"context"
	"time"

	"github.com/credproxy/credproxy/metrics/recent"
)

// sampleEvery is how often sessions are counted for [Database.Recent].
const sampleEvery = recent.SlotTime / 2

// Sample counts sessions for [Database.Recent] until ctx ends.
func (m *Metrics) Sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		m.sample()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Metrics) sample() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.databases {
		d.recent.Sessions(d.servers.active())
	}
}

// Recent returns what happened lately.
func (d *Database) Recent() *recent.Window {
	d.recent.Sessions(d.servers.active())
	return d.recent.Window()
}

// active is the number of sessions of all servers.
func (c *servers) active() (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.all {
		n += o.server.Active()
	}
	return n
}
