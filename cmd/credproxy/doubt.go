package main

import (
	"time"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
)

// doubter has the prober look when a client could not reach the database: it finds
// out when that is over, also if no client comes again.
type doubter struct {
	proxy.Observer
	prober *prober
}

// SessionEnded implements proxy.Observer.
func (d doubter) SessionEnded(kind fault.Kind, told string) {
	d.Observer.SessionEnded(kind, told)
	if kind.NoReply() {
		d.prober.doubt()
	}
}

// doubtful is how long ago the last probe must have begun for clients to raise a doubt:
// they may fail many times a second, and each probe is a login.
const doubtful = time.Second

// doubt is a reason to probe, unless the last probe failed too, and another is to
// come in its time, or one began just now.
func (p *prober) doubt() {
	p.mu.Lock()
	fine := (p.last == nil || p.last.err == nil) && time.Since(p.started) >= doubtful
	p.mu.Unlock()
	if fine {
		p.kick()
	}
}
