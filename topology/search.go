package topology

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
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
	// refusedAgain is how long a search waits before it asks a server once more that refused the
	// monitor, twice as long each further time, until it is refusedMost.
	refusedAgain = time.Second
	refusedMost  = 10 * time.Second
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
		return s.await(ctx, func() bool { return s.accepted || s.heardAll() })
	})
	if s != nil {
		if !secrets.IsRejected(err) {
			_ = s.await(round, func() bool { return false })
		}
		s.end()
		if s.found != nil {
			if m.settle(s.found, s.name) {
				m.learnFirst(ctx, s.found)
			}
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	if s == nil || secrets.IsRejected(err) {
		m.fail(err)
	}
	m.inTrouble(err)
}

// fail notes why servers refuse the monitor: the logins of clients find out more. nil: they do not, but
// none has the role.
func (m *monitor) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	news := (err == nil) != (m.failed == nil)
	if m.failed = err; news {
		m.tell()
	}
}

// inTrouble notes that no server with the role is known.
func (m *monitor) inTrouble(err error) {
	m.mu.Lock()
	first := m.trouble.IsZero()
	if first {
		m.trouble = time.Now()
	}
	m.mu.Unlock()
	if first {
		m.o.Log.Warn("no "+m.o.Role.String()+" of the database is known: looking for one", zap.Error(err), zap.Bool("audit", true))
	}
}

// search asks all servers that are known, and those that they name, until one has the role.
type search struct {
	*monitor
	name   Place // of the database
	cred   *secrets.Credential
	ctx    context.Context // until end
	cancel context.CancelFunc
	said   chan report
	asking sync.WaitGroup

	asked    []Route
	heard    map[Route]error // of each server that was heard: its refusal; nil: it said what it is
	accepted bool            // a server took the credential
	found    *server
}

func (m *monitor) newSearch(ctx context.Context, cred *secrets.Credential) (*search, error) {
	name, err := m.engine.Name(cred)
	if err != nil {
		return nil, err
	}
	s := &search{monitor: m, name: name, cred: cred, said: make(chan report), heard: map[Route]error{}}
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
			s.heard[r.route] = r.err
			s.found, s.accepted = r.found, s.accepted || r.err == nil
			for _, i := range r.others {
				s.begin(Route{Place: i.Place})
			}
			if s.found == nil && s.heardAll() {
				s.fail(s.refusal())
			}
		case <-ctx.Done():
			return s.verdict(context.Cause(ctx))
		}
	}
	return s.verdict(nil)
}

// heardAll reports whether each server was heard once.
func (s *search) heardAll() bool { return len(s.heard) == len(s.asked) }

// refusal returns the error of a server that answered, and does not say what it is to the
// monitor: one that refuses the credential, else the first. nil: there is none.
func (s *search) refusal() (refusal error) {
	for _, route := range s.asked {
		switch err := s.heard[route]; {
		case secrets.IsRejected(err):
			return err
		case refusal == nil && err != nil && !isAway(err):
			refusal = err
		}
	}
	return refusal
}

// isAway reports whether err is of a server that is not there, or about to go or to come.
func isAway(err error) bool {
	if _, missed := errors.AsType[*missed](err); missed {
		return true
	}
	switch kind := fault.As(err).Kind; kind {
	case fault.Timeout, fault.ShuttingDown, fault.Internal: // what is no fault.Error is a connection that broke
		return true
	default:
		return kind.NoReply()
	}
}

func (s *search) verdict(why error) error {
	if s.accepted {
		return nil
	}
	for _, route := range s.asked {
		why = cmp.Or(why, s.heard[route])
	}
	return cmp.Or(s.refusal(), why)
}

// candidates returns whom to ask first: where the configuration leads to comes before what
// servers said. It forgets what was said in the last search.
func (m *monitor) candidates(name Place) []Route {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setName(name)
	var all []Route
	clear(m.said)
	if m.current != nil { // learned from a predecessor
		all = append(all, Route{Place: m.current.Place, Addr: m.current.addr})
	}
	for _, p := range m.configured() {
		all = append(all, Route{Place: p})
	}
	if g := m.switchover.green; g != nil && m.switchover.holds() {
		all = append(all, Route{Place: *g})
	}
	for addr, place := range m.members {
		all = append(all, Route{Place: place, Addr: addr})
	}
	for _, i := range m.known {
		all = append(all, Route{Place: i.Place})
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
	if route.Place == (Place{}) || slices.Contains(s.asked, route) || len(s.asked) >= MaxInstances {
		return
	}
	s.asked = append(s.asked, route)
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
		a := asked{search: s, route: route, tell: tell}
		wait := askAgain
		for limit := firstAttempt; ctx.Err() == nil; limit = min(2*limit, s.o.LoginTimeout) {
			err := a.watch(ctx, limit)
			if err == nil {
				return
			}
			s.say(ctx, route.Place, sayError(err))
			if tell(report{route: route, err: err}); secrets.IsRejected(err) {
				return
			}
			if wait = min(max(2*wait, refusedAgain), refusedMost); isAway(err) {
				wait = askAgain
			}
			pause(ctx, wait)
		}
	})
}

// asked is a server that a search asks.
type asked struct {
	*search
	route Route
	tell  func(report)
	mute  bool // it does not tell of the others
}

// watch logs in at the server and asks it until it has the role, which is no error.
func (a *asked) watch(ctx context.Context, limit time.Duration) error {
	attempt, cancel := context.WithTimeout(ctx, limit)
	found, role, err := a.ask(attempt, a.cred, a.route)
	cancel()
	if err != nil {
		return err
	}
	conn := found.conn
	for said := Unknown; role != a.o.Role || !a.mayTakeOver(ctx, found); {
		if role != said {
			said = role
			a.say(ctx, a.route.Place, "is a "+role.String())
			a.tell(report{route: a.route})
			if !a.mute {
				answer, ok := a.learn(ctx, conn, a.route.Place)
				a.mute = !ok
				a.tell(report{route: a.route, others: answer.Instances})
			}
		}
		pause(ctx, askAgain)
		asking, cancel := context.WithTimeout(ctx, checkTimeout)
		role, found.id, err = conn.Role(asking)
		cancel()
		if err = cmp.Or(err, ctx.Err()); err != nil {
			_ = conn.Close()
			return err
		}
	}
	a.tell(report{route: a.route, found: found})
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

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
