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
	// sweepFor is how long it goes on after the drain: a login may have found the role just
	// before it was lost, and be slow. It is longer than any login.
	sweepFor = time.Minute
)

// departed are the addresses of servers that have lost the role, whose sessions end.
type departed struct {
	changed chan struct{} // an address was added; capacity 1

	mu  sync.Mutex
	all map[netip.AddrPort]departure
}

type departure struct {
	at  time.Time
	why error
}

func (d *departed) add(addr netip.AddrPort, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[netip.AddrPort]departure{}
	}
	if _, there := d.all[addr]; there || len(d.all) >= MaxInstances {
		return
	}
	d.all[addr] = departure{time.Now(), why}
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// remove tells that the server at addr has the role again.
func (d *departed) remove(addr netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, addr)
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
		if now.Sub(gone.at) > o.Drain+sweepFor {
			delete(d.all, addr)
			continue
		}
		all[addr] = gone
	}
	d.mu.Unlock()
	for addr, gone := range all {
		o.End(gone.why, now.Sub(gone.at) < o.Drain, func(end net.Addr) bool { return addrPort(end) == addr })
	}
	return len(all) > 0
}
