package topology

import (
	"net/netip"
	"time"
)

// Status is what is known at one moment.
type Status struct {
	Role       Role           // that clients want
	Server     Place          // that has it, or for readers the one that is watched; zero: none is known
	Address    netip.AddrPort // at which it was found
	Trouble    time.Time      // since when none is known; zero: one is, or nobody has looked yet
	Switchover Switchover     // of a Blue/Green deployment
	Changes    int            // times that another server took the role over
	Instances  []Instance     // as servers say; none: they do not know each other
}

// Status returns what is known now.
func (s *Servers) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Role: s.o.Role, Trouble: s.trouble, Switchover: s.switchover.phase, Changes: s.changes, Instances: s.known}
	if s.current != nil {
		st.Server, st.Address = s.current.Place, s.current.addr
	}
	return st
}

// Label returns what an instance is called: its name, else where it is.
func (i Instance) Label() string {
	if i.Name != "" {
		return i.Name
	}
	return i.Place.String()
}
