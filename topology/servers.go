package topology

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

// Options say what a database's clients want of its servers.
type Options struct {
	Role         Role          // Writer or Reader
	Hosts        []Place       // further servers; a port that is 0 is that of the name
	Monitor      time.Duration // between two looks at the server in use
	Drain        time.Duration // that sessions have to end which are not idle
	Hold         time.Duration // that logins wait for a Blue/Green switchover at most
	LoginTimeout time.Duration // of clients, and of one round of a search
	MaxLag       time.Duration // of readers
	// ReaderFallback has clients of role Reader get the writer while there is no reader.
	ReaderFallback bool
	Log            *zap.Logger
	Database       func(*secrets.Credential) string // that the monitor logs in to; "": the default
	// Token returns a token for a server in place of the one in force, which is for another;
	// nil: the credential is for all.
	Token func(ctx context.Context, inForce *secrets.Credential, to Place) (*secrets.Credential, error)
	// End ends the sessions that at picks by the address of the database's end and by when they began, with a
	// word to their clients: the idle ones, or all.
	End func(why error, onlyIdle bool, at func(end net.Addr, began time.Time) bool)
	// Changed is called when another server has taken the role over, after the time given
	// since trouble was noticed first; 0: it was not noticed before.
	Changed func(after time.Duration)
	// Found is called when a server with the role is in use now, be it the one before.
	Found func()
	// Left is called when the server in use has just said that it has lost the role, or that a Blue/Green
	// switchover leads elsewhere: no idle session there is for a client any more.
	Left func()
}

// Servers knows the servers of one database, and has its clients get one with the role that
// they want. Logins ask it where to go ([Servers.Route]) and tell it what they found
// ([Servers.Verify]); one goroutine alone, that of [Servers.Run], searches. It is safe for
// concurrent use. A nil *Servers lets logins go where they would.
type Servers struct {
	o      Options
	engine chan Engine
	kicked chan struct{} // there is something to look at; capacity 1
	left   departed

	mu         sync.Mutex
	name       Place                    // where the configuration, or the credential, leads to
	known      []Instance               // as servers said last
	said       map[Place]string         // what each server said or was, in the search that is under way
	last       *server                  // the one that was current last; nil: none was
	current    *server                  // that has the role; nil: it is not known, or nobody has it
	epoch      uint64                   // how many servers have been current, one after another
	members    map[netip.AddrPort]Place // addresses at which current was found, and the names to verify there
	unsure     map[netip.AddrPort]Place // addresses at which a login found the role, and the monitor has not looked
	trouble    time.Time                // since when none is known; zero: one is, or nobody has looked yet
	failed     error                    // why the last search failed, if it was not for lack of a server
	begun      uint64                   // checks of the monitor; that it found a server counts as one
	done       uint64
	news       chan struct{} // closed when a check is done, or failed says something else
	turn       int           // of readers
	changes    int           // of the server that has the role
	leftOut    map[Place]absence
	switchover switchover
	outdated   bool            // the monitor's session is to be replaced
	during     context.Context // the epoch; its end breaks off logins on the way to the server before
	end        context.CancelCauseFunc
}

// server is one that has the role.
type server struct {
	Place
	addr netip.AddrPort
	id   string // tells this run of the server from any other
	conn Conn   // the monitor's
}

// Route is the way to a server.
type Route struct {
	Place                   // zero: where the configuration, or the credential, leads to
	Addr     netip.AddrPort // at which the server was found; invalid: its name has to be looked up
	epoch    uint64
	fallback bool // the writer will do
}

// New returns what knows nothing yet.
func New(o Options) *Servers {
	s := &Servers{
		o: o, engine: make(chan Engine, 1), kicked: make(chan struct{}, 1), news: make(chan struct{}),
		said: map[Place]string{}, members: map[netip.AddrPort]Place{}, unsure: map[netip.AddrPort]Place{}, leftOut: map[Place]absence{},
	}
	s.left.changed = make(chan struct{}, 1)
	s.during, s.end = context.WithCancelCause(context.Background())
	return s
}

// LearnFrom takes over what old knows of the servers of the same database, if it is configured to have
// the same ones.
func (s *Servers) LearnFrom(old *Servers) {
	if s == nil || old == nil || s.o.Role != old.o.Role || !slices.Equal(s.o.Hosts, old.o.Hosts) {
		return
	}
	old.mu.Lock()
	name, known, epoch := old.name, old.known, old.epoch
	var current *server
	if old.current != nil {
		current = &server{Place: old.current.Place, addr: old.current.addr, id: old.current.id}
	}
	old.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.known, s.current, s.last, s.epoch = name, known, current, current, epoch
	if current != nil {
		s.members[current.addr] = current.Place
	}
}

// Wanted returns the role that a login hopes to find at the end of route.
func (s *Servers) Wanted(route Route) Role {
	if route.fallback {
		return Writer
	}
	return s.o.Role
}

// Route returns the way to the server that a login is to use, where name is what the
// configuration, or the login's credential, says. Where several would do it is near, if that
// is one of them, or else they take turns. The login tells what it found there:
// [Servers.Verify], or [Missed].
func (s *Servers) Route(name, near Place) Route {
	if s == nil {
		return Route{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setName(name)
	if s.o.Role == Reader {
		return s.readerRoute(near)
	}
	if s.current == nil {
		return Route{epoch: s.epoch}
	}
	return Route{Place: s.current.Place, Addr: s.current.addr, epoch: s.epoch}
}

// Credential returns what to log in with along route, for a login with cred.
func (s *Servers) Credential(ctx context.Context, route Route, cred *secrets.Credential) (*secrets.Credential, error) {
	if s.o.Token == nil || cred.Kind() != secrets.Token || route.Place == (Place{}) {
		return cred, nil
	}
	return s.o.Token(ctx, cred, route.Place)
}

// setName begins anew if the database is somewhere else now. Sessions that are under way
// stay. s.mu is held.
func (s *Servers) setName(name Place) {
	if s.name == name {
		return
	}
	if s.name != (Place{}) {
		s.current, s.known, s.trouble, s.failed, s.switchover = nil, nil, time.Time{}, nil, switchover{}
		s.epoch++
		clear(s.members)
		clear(s.unsure)
		s.kick()
	}
	s.name = name
}

// Verify tells that the server at end, that of route, says that it has role. The error
// is marked for [Servers.Login] if the login must not use it.
func (s *Servers) Verify(route Route, role Role, end net.Addr) error {
	addr := addrPort(end)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, member := s.members[addr]
	switch {
	case route.fallback:
	case role != s.o.Role:
		return &missed{route, role, &fault.Error{Kind: fault.Unreachable, Message: fmt.Sprintf("the server at %s is a %s", addr, role)}}
	case s.o.Role == Reader, member:
	case route.epoch != s.epoch: // that was the case once
		return &missed{route, role, &fault.Error{Kind: fault.Unreachable, Message: fmt.Sprintf("the server at %s has just been replaced", addr)}}
	case len(s.unsure) < MaxInstances:
		s.unsure[addr] = cmp.Or(route.Place, s.name)
		s.kick()
	}
	return nil
}

// kick has the monitor look now.
func (s *Servers) kick() {
	select {
	case s.kicked <- struct{}{}:
	default:
	}
}

// tell wakes those who wait for news. s.mu is held.
func (s *Servers) tell() {
	close(s.news)
	s.news = make(chan struct{})
}

// errNone says that no server has the role, and what each said.
func (s *Servers) errNone() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for p, what := range s.said {
		all = append(all, p.String()+" "+what)
	}
	slices.Sort(all)
	e := &fault.Error{Kind: fault.Unreachable, Message: fmt.Sprintf("the database has no %s that can be reached", s.o.Role),
		Hint: "If a failover is under way it passes by itself: connect again. Else see docs/failover.md."}
	if len(all) > 0 {
		e.Message += ": " + strings.Join(all, ", ")
	}
	return e
}

// String returns host:port.
func (p Place) String() string { return net.JoinHostPort(p.Host, strconv.Itoa(p.Port)) }

// String returns "writer", "reader" or "server of unknown role".
func (r Role) String() string {
	switch r {
	case Writer:
		return "writer"
	case Reader:
		return "reader"
	}
	return "server of unknown role"
}
