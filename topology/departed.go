package topology

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// sweepEvery is how often sessions at a server that has just lost the role are ended.
	sweepEvery = 100 * time.Millisecond
	// sweepFor is how long it goes on after the drain and the time of a login, which may have found
	// the role just before it was lost, and be slow.
	sweepFor = 10 * time.Second
)

// departed are the addresses of servers that have lost the role, whose sessions end.
type departed struct {
	changed chan struct{} // an address was added; capacity 1

	mu  sync.Mutex
	all map[netip.AddrPort]departure
}

type departure struct {
	at     time.Time
	why    error
	before time.Time // of sessions that began before; zero: of all
}

func (d *departed) add(addr netip.AddrPort, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[netip.AddrPort]departure{}
	}
	if gone, there := d.all[addr]; there && gone.before.IsZero() || !there && len(d.all) >= MaxInstances {
		return
	}
	d.all[addr] = departure{at: time.Now(), why: why}
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// readmit tells that a server at addr has the role: the same one again, or another one that answers there now, and
// that only sessions are at which begin from now on.
func (d *departed) readmit(addr netip.AddrPort, same bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	gone, there := d.all[addr]
	switch {
	case same:
		delete(d.all, addr)
	case there:
		gone.before = time.Now()
		d.all[addr] = gone
	}
}

// run ends the sessions until ctx ends.
func (d *departed) run(ctx context.Context, o Options) {
	for {
		var again <-chan time.Time
		if d.sweep(o) {
			again = time.After(sweepEvery)
		}
		select {
		case <-again:
		case <-d.changed:
		case <-ctx.Done():
			return
		}
	}
}

// sweep ends the idle sessions at each address, and all when the drain is over. It forgets
// the addresses that have been gone for long, and reports whether one is left.
func (d *departed) sweep(o Options) bool {
	d.mu.Lock()
	now, all := time.Now(), map[netip.AddrPort]departure{}
	for addr, gone := range d.all {
		if now.Sub(gone.at) > o.Drain+o.LoginTimeout+sweepFor {
			delete(d.all, addr)
			continue
		}
		all[addr] = gone
	}
	d.mu.Unlock()
	for addr, gone := range all {
		o.End(gone.why, now.Sub(gone.at) < o.Drain, func(end net.Addr, began time.Time) bool {
			return addrPort(end) == addr && (gone.before.IsZero() || began.Before(gone.before))
		})
	}
	return len(all) > 0
}
