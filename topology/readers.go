package topology

import (
	"slices"
	"time"
)

// leaveOutFor is how long a server that served no reader is left out.
const leaveOutFor = 10 * time.Second

// readerRoute returns the way to the reader whose turn it is, or to near if that is one. s.mu
// is held.
func (s *Servers) readerRoute(near Place) Route {
	places, fallback := s.present(s.readers(), Reader), false
	if len(places) == 0 && s.o.ReaderFallback {
		places, fallback = s.present(s.writers(), Writer), true
	}
	if len(places) == 0 { // nobody waits for that: see await
		places, fallback = append(s.readers(), s.name), false
	}
	r := Route{Place: places[s.turn%len(places)], epoch: s.epoch, fallback: fallback}
	if slices.Contains(places, near) {
		r.Place = near
	} else {
		s.turn++
	}
	if r.Place == s.name {
		r.Place = Place{}
	}
	return r
}

// hasReader reports whether there is a server for clients of role reader. s.mu is held.
func (s *Servers) hasReader() bool {
	return len(s.present(s.readers(), Reader)) > 0 || s.o.ReaderFallback && len(s.present(s.writers(), Writer)) > 0
}

// readers returns the readers that servers name, if they are not too far behind the writer.
// Where they name no place, any server may be one. s.mu is held.
func (s *Servers) readers() (places []Place) {
	if !slices.ContainsFunc(s.known, func(i Instance) bool { return i.Place != (Place{}) }) {
		return s.configured()
	}
	measured := slices.ContainsFunc(s.known, func(i Instance) bool { return i.Role == Reader && i.Lag >= 0 })
	for _, i := range s.known {
		if i.Role == Reader && i.Place != (Place{}) && i.Lag <= s.o.MaxLag && (i.Lag >= 0 || !measured) {
			places = append(places, i.Place)
		}
	}
	return places
}

// writers returns where the writer may be. s.mu is held.
func (s *Servers) writers() (places []Place) {
	for _, i := range s.known {
		if i.Role == Writer && i.Place != (Place{}) {
			places = append(places, i.Place)
		}
	}
	if len(places) == 0 {
		return s.configured()
	}
	return places
}

// configured returns where the configuration and the credential lead to. s.mu is held.
func (s *Servers) configured() []Place {
	places := []Place{s.name}
	for _, p := range s.o.Hosts {
		if p.Port == 0 {
			p.Port = s.name.Port
		}
		places = append(places, p)
	}
	return places
}

// absence is why a server is left out.
type absence struct {
	until time.Time
	has   Role // that it has; Unknown: none, it is away
}

// present returns those of places that are not left out for clients of role. s.mu is held.
func (s *Servers) present(places []Place, role Role) []Place {
	return slices.DeleteFunc(slices.Clone(places), func(p Place) bool {
		a := s.leftOut[p]
		return time.Now().Before(a.until) && a.has != role
	})
}

// leaveOut has logins not go where one has missed for a while. It reports whether there are other
// servers to go to, and, if not, whether the monitor cannot find any either.
func (s *Servers) leaveOut(m *missed) (others, hopeless bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leftOut) >= MaxInstances {
		clear(s.leftOut)
	}
	p := m.route.Place
	if p == (Place{}) {
		p = s.name
	}
	s.leftOut[p] = absence{time.Now().Add(leaveOutFor), m.has}
	others = s.hasReader()
	return others, !others && s.failed != nil
}
