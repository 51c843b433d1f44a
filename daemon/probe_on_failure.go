package daemon

import (
	"github.com/credproxy/credproxy/probe"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
)

// probeOnFailure has the prober look when a client could not reach the database.
type probeOnFailure struct {
	proxy.Observer
	prober *probe.Prober
}

// SessionEnded implements proxy.Observer.
func (o probeOnFailure) SessionEnded(kind fault.Kind, told string) {
	o.Observer.SessionEnded(kind, told)
	o.prober.SessionEnded(kind)
}
