package topology

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

const (
	// askAgain is how long a search waits before it asks a server once more.
	askAgain = 100 * time.Millisecond
	// firstAttempt is how long the first login of a search at a server may take, twice as
	// long each further one: a name may lead elsewhere meanwhile, and a server may be slow.
	firstAttempt = time.Second
)

// errNoServer is the error of a search in which servers answered, and none had the role.
var errNoServer = errors.New("no server has the role")

// login has try log in as a client would.
func (m *monitor) login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error {
	return m.from.Login(secrets.WithoutGrace(ctx), func(ctx context.Context, cred *secrets.Credential) error {
		ctx, cancel := context.WithTimeout(ctx, m.o.LoginTimeout)
		defer cancel()
		return try(ctx, cred)
	})
}

// search makes one round of a search.
func (m *monitor) search(ctx context.Context) {
	var found *server
	err := m.login(ctx, func(ctx context.Context, cred *secrets.Credential) (err error) {
		found, err = m.find(ctx, cred)
		return err
	})
	if found != nil {
		m.settle(found)
		m.follow(m.learn(ctx, found.conn, found.Place))
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	m.failed = nil
	if e, ok := errors.AsType[*fault.Error](err); !errors.Is(err, errNoServer) && (!ok || !e.Kind.NoReply()) {
		m.failed = err // the logins of clients find out more
	}
	if m.trouble.IsZero() {
		m.trouble = time.Now()
		m.o.Log.Warn("no "+m.o.Role.String()+" of the database is known: looking for one", zap.Error(err), zap.Bool("audit", true))
	}
}

// find asks all servers that are known, and those that they name, until one has the role or
// ctx ends. If none does the error says whether the credential came into it: it is marked as
// secrets.MarkRejected if a server refused it and none took it.
func (m *monitor) find(ctx context.Context, cred *secrets.Credential) (*server, error) {
	name, err := m.engine.Name(cred)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &search{monitor: m, cred: cred, said: make(chan report), seen: map[Route]bool{}, failed: map[Route]error{}}
	defer s.asking.Wait()
	defer cancel()
	for _, route := range m.candidates(name) {
		s.begin(ctx, route)
	}
	for {
		select {
		case r := <-s.said:
			switch {
			case r.found != nil:
				return r.found, nil
			case r.err != nil:
				s.failed[r.route] = r.err
			default:
				s.accepted = true
				for _, i := range r.others {
					s.begin(ctx, Route{Place: i.Place})
				}
			}
			if err := s.rejection(); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, s.noServer(ctx)
		}
	}
}

// rejection returns a server's refusal of the credential when each server has been asked, and
// none took it: one may lag behind a rotation.
func (s *search) rejection() (rejected error) {
	if s.accepted || len(s.failed) < len(s.seen) {
		return nil
	}
	for _, err := range s.failed {
		if secrets.IsRejected(err) {
			return err
		}
	}
	return nil
}

// noServer is why the search ended without one.
func (s *search) noServer(ctx context.Context) error {
	if s.accepted {
		return secrets.MarkAccepted(errNoServer)
	}
	for _, err := range s.failed {
		return err
	}
	return &fault.Error{Kind: fault.Unreachable, Message: "no server of the database answers", Err: context.Cause(ctx)}
}

// candidates returns whom to ask first. It forgets what was said in the last search.
func (m *monitor) candidates(name Place) []Route {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setName(name)
	var all []Route
	clear(m.said)
	if m.current != nil { // learned from a predecessor
		all = append(all, Route{Place: m.current.Place, Addr: m.current.addr})
	}
	for addr := range m.members {
		all = append(all, Route{Place: name, Addr: addr})
	}
	for _, i := range m.known {
		all = append(all, Route{Place: i.Place})
	}
	for _, p := range m.configured() {
		all = append(all, Route{Place: p})
	}
	if g := m.switchover.green; g != nil && m.switchover.holds() {
		all = append(all, Route{Place: *g})
	}
	return all
}

// search is one round.
type search struct {
	*monitor
	cred     *secrets.Credential
	said     chan report
	asking   sync.WaitGroup
	seen     map[Route]bool
	accepted bool            // a server took the credential
	failed   map[Route]error // why those failed that did
}

// report is what one server said.
type report struct {
	route  Route
	found  *server    // it has the role
	others []Instance // it has not, and names these
	err    error
}

// begin has a goroutine ask a server again and again.
func (s *search) begin(ctx context.Context, route Route) {
	if s.seen[route] || len(s.seen) >= MaxInstances {
		return
	}
	s.seen[route] = true
	s.asking.Go(func() {
		tell := func(r report) {
			select {
			case s.said <- r:
			case <-ctx.Done():
				if r.found != nil {
					_ = r.found.conn.Close()
				}
			}
		}
		for limit := firstAttempt; ctx.Err() == nil; limit = min(2*limit, s.o.LoginTimeout) {
			err := s.watch(ctx, route, limit, tell)
			if err == nil {
				return
			}
			s.say(ctx, route.Place, sayError(err))
			if tell(report{route: route, err: err}); secrets.IsRejected(err) {
				return
			}
			pause(ctx)
		}
	})
}

// watch logs in at a server and asks it until it has the role, which is no error.
func (s *search) watch(ctx context.Context, route Route, limit time.Duration, tell func(report)) error {
	attempt, cancel := context.WithTimeout(ctx, limit)
	found, role, err := s.ask(attempt, s.cred, route)
	cancel()
	if err != nil {
		return err
	}
	conn := found.conn
	for said := Unknown; role != s.o.Role || !s.mayTakeOver(ctx, found); {
		if role != said {
			said = role
			s.say(ctx, route.Place, "is a "+role.String())
			tell(report{others: s.learn(ctx, conn, route.Place).Instances})
		}
		pause(ctx)
		asking, cancel := context.WithTimeout(ctx, checkTimeout)
		role, found.id, err = conn.Role(asking)
		cancel()
		if err = cmp.Or(err, ctx.Err()); err != nil {
			_ = conn.Close()
			return err
		}
	}
	tell(report{found: found})
	return nil
}

// ask logs in at a server and asks what it is.
func (m *monitor) ask(ctx context.Context, cred *secrets.Credential, route Route) (*server, Role, error) {
	conn, err := m.engine.Open(ctx, cred, m.o.Database(cred), route)
	if err != nil {
		return nil, Unknown, err
	}
	role, id, err := conn.Role(ctx)
	if err != nil {
		_ = conn.Close()
		return nil, Unknown, secrets.MarkAccepted(err)
	}
	return &server{Place: route.Place, addr: addrPort(conn.RemoteAddr()), id: id, conn: conn}, role, nil
}

// say remembers what a server said, for clients that wait.
func (s *search) say(ctx context.Context, at Place, what string) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Servers.said[at] = what
}

// addrPort returns the address of a TCP connection's end, IPv4 as such.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

func pause(ctx context.Context) {
	select {
	case <-time.After(askAgain):
	case <-ctx.Done():
	}
}
