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

// login has try log in as a client would.
func (m *monitor) login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error {
	return m.from.Login(secrets.WithoutGrace(ctx), func(ctx context.Context, cred *secrets.Credential) error {
		ctx, cancel := context.WithTimeout(ctx, m.o.LoginTimeout)
		defer cancel()
		return try(ctx, cred)
	})
}

// search makes one round of a search. The login lasts only until there is a verdict on the
// credential, because the logins of clients wait for that; the search goes on without it.
func (m *monitor) search(ctx context.Context) {
	round, cancel := context.WithTimeout(ctx, m.o.LoginTimeout)
	defer cancel()
	var s *search
	err := m.login(round, func(ctx context.Context, cred *secrets.Credential) (err error) {
		if s != nil {
			s.end() // with another credential
		}
		if s, err = m.newSearch(round, cred); err != nil {
			return err
		}
		return s.await(ctx, func() bool { return s.accepted || len(s.failed) == len(s.seen) })
	})
	var found *server
	if s != nil {
		if !secrets.IsRejected(err) {
			_ = s.await(round, func() bool { return false })
		}
		s.end()
		found = s.found
	}
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
	if e, ok := errors.AsType[*fault.Error](err); err != nil && (!ok || !e.Kind.NoReply()) {
		m.failed = err // the logins of clients find out more
	}
	m.inTrouble(err)
}

// inTrouble notes that no server with the role is known. m.mu is held.
func (m *monitor) inTrouble(err error) {
	if m.trouble.IsZero() {
		m.trouble = time.Now()
		m.o.Log.Warn("no "+m.o.Role.String()+" of the database is known: looking for one", zap.Error(err), zap.Bool("audit", true))
	}
}

// search asks all servers that are known, and those that they name, until one has the role.
type search struct {
	*monitor
	cred   *secrets.Credential
	ctx    context.Context // until end
	cancel context.CancelFunc
	said   chan report
	asking sync.WaitGroup

	seen     map[Route]bool
	failed   map[Route]error // why those failed that did
	accepted bool            // a server took the credential
	found    *server
}

func (m *monitor) newSearch(ctx context.Context, cred *secrets.Credential) (*search, error) {
	name, err := m.engine.Name(cred)
	if err != nil {
		return nil, err
	}
	s := &search{monitor: m, cred: cred, said: make(chan report), seen: map[Route]bool{}, failed: map[Route]error{}}
	s.ctx, s.cancel = context.WithCancel(ctx)
	for _, route := range m.candidates(name) {
		s.begin(route)
	}
	return s, nil
}

// end ends the search, and waits for all that runs for it.
func (s *search) end() {
	s.cancel()
	s.asking.Wait()
}

// await hears what servers say until one has the role, enough says so, or ctx ends. The error
// is a verdict on the credential: a server's refusal counts when no other took it, since
// one may lag behind a rotation.
func (s *search) await(ctx context.Context, enough func() bool) error {
	for s.found == nil && !enough() {
		select {
		case r := <-s.said:
			switch {
			case r.err != nil:
				s.failed[r.route] = r.err
			case r.found != nil:
				s.found, s.accepted = r.found, true
			default:
				s.accepted = true
				for _, i := range r.others {
					s.begin(Route{Place: i.Place})
				}
			}
		case <-ctx.Done():
			return s.verdict(context.Cause(ctx))
		}
	}
	return s.verdict(nil)
}

func (s *search) verdict(why error) error {
	if s.accepted {
		return nil
	}
	for _, err := range s.failed {
		if why = err; secrets.IsRejected(err) {
			break
		}
	}
	return why
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

// report is what one server said.
type report struct {
	route  Route
	found  *server    // it has the role
	others []Instance // it has not, and names these
	err    error
}

// begin has a goroutine ask a server again and again.
func (s *search) begin(route Route) {
	if route.Place == (Place{}) || s.seen[route] || len(s.seen) >= MaxInstances {
		return
	}
	s.seen[route] = true
	ctx := s.ctx
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
