package topology

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

const (
	// checkTimeout is how long the server in use may take to say what it is.
	checkTimeout = 1500 * time.Millisecond
	// topologyTimeout is how long a server may take to say what the others are.
	topologyTimeout = 2 * time.Second
	// quietFor is for how long it is not asked for them when it did not tell.
	quietFor = 30 * time.Second
	// topologyEvery is after how many looks at the server in use it is asked for the others.
	topologyEvery = 5
)

// Engine opens sessions of credproxy's own at servers; those of PostgreSQL and MySQL do.
type Engine interface {
	// Name returns where the configuration, or cred, says that the database is.
	Name(cred *secrets.Credential) (Place, error)
	// Open logs in, to a database; empty: the default. Its errors are those of a login for
	// a client.
	Open(ctx context.Context, cred *secrets.Credential, database string, to Route) (Conn, error)
}

// Conn is a session of credproxy's own.
type Conn interface {
	// Role asks the server what it is. id is no other server's, and not this one's when it
	// was started again.
	Role(ctx context.Context) (role Role, id string, err error)
	// Ask asks the server, which is known as at, for all; hosts are further ones that the
	// configuration names.
	Ask(ctx context.Context, at Place, hosts ...Place) (Answer, error)
	RemoteAddr() net.Addr
	Close() error
}

// Credentials are what logins are made with; [secrets.Cache] has them.
type Credentials interface {
	Login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error
}

// SetEngine says how to log in. Nothing is looked at before. Call it once.
func (s *Servers) SetEngine(e Engine) { s.engine <- e }

// Run watches the servers until ctx ends.
func (s *Servers) Run(ctx context.Context, from Credentials) {
	var e Engine
	select {
	case e = <-s.engine:
	case <-ctx.Done():
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.left.run(ctx, s.o)
	}()
	m := monitor{Servers: s, from: from, engine: e}
	for n := 0; ctx.Err() == nil; n++ {
		m.check(ctx, n%topologyEvery == 0)
		select {
		case <-s.kicked:
		case <-time.After(m.interval()):
		case <-ctx.Done():
		}
	}
	m.hangUp()
	<-ended
}

// monitor is the one who looks.
type monitor struct {
	*Servers
	from     Credentials
	engine   Engine
	watching *server   // whose session is open; nil: none
	quiet    time.Time // until when the server in use is not asked for the others
}

// interval returns how long to wait before the next look.
func (m *monitor) interval() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.trouble.IsZero() || m.switchover.phase == SwitchoverInitiated || m.switchover.holds() {
		return m.o.Monitor / 10
	}
	return m.o.Monitor
}

// check looks at the server in use, and searches for another if it has lost the role.
func (m *monitor) check(ctx context.Context, topology bool) {
	m.mu.Lock()
	m.begun++
	current := m.current
	m.mu.Unlock()
	if m.watching != current { // the database is somewhere else now
		m.hangUp()
	}
	if current != nil && current.conn != nil {
		m.reopenOutdated(ctx, current)
	}
	if current == nil || !m.has(ctx, current, topology) {
		m.search(ctx)
	}
	m.mu.Lock()
	m.done = m.begun
	m.tell()
	m.mu.Unlock()
	m.settleUnsure(ctx)
}

// has reports whether the server still has the role, as it says itself.
func (m *monitor) has(ctx context.Context, at *server, topology bool) bool {
	if at.conn == nil { // learned from a predecessor: the search finds it first
		return false
	}
	role, err := m.look(ctx, at)
	left := err == nil && role != m.o.Role // it says so itself
	what := "is a " + role.String()
	if err == nil && !left && m.asksTopology(at, topology) {
		left, err = m.askTopology(ctx, at)
		what = "is what a Blue/Green switchover left"
	}
	if err == nil && !left || ctx.Err() != nil { // nobody knows
		return true
	}
	if err != nil {
		what = sayError(err)
	}
	m.hangUp()
	m.mu.Lock()
	if m.current != at {
		m.mu.Unlock()
		return false
	}
	if m.trouble.IsZero() {
		m.trouble = time.Now()
	}
	m.current = nil
	if left && role != m.o.Role {
		m.depart(m.errLeft(at.Place.String() + " " + what + " by now"))
	}
	m.mu.Unlock()
	m.o.Log.Warn("the "+m.o.Role.String()+" is gone: looking for another", zap.Stringer("server", at.Place), zap.String("what", what),
		zap.Stringer("address", at.addr), zap.Bool("audit", true))
	if left {
		m.o.Left()
	}
	return false
}

// look asks the server in use what it is. Behind a proxy it may be another run of it each time.
func (m *monitor) look(ctx context.Context, at *server) (Role, error) {
	asking, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	role, id, err := at.conn.Role(asking)
	if err == nil {
		m.mu.Lock()
		at.id = id
		m.mu.Unlock()
	}
	return role, err
}

// asksTopology reports whether the server in use is to be asked for the others: in its turn,
// for each look where the lag of readers counts, and during a switchover.
func (m *monitor) asksTopology(at *server, turn bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.o.Role == Reader && !m.hasReader() {
		delete(m.leftOut, at.Place)
	}
	return (turn || m.o.Role == Reader || m.switchover.phase != NoSwitchover) && !time.Now().Before(m.quiet)
}

// askTopology asks the server in use for the others, and reports whether it is to be left for the one that a
// Blue/Green switchover leads to. A question that it does not answer may have cost the session, which tells
// nothing of the server: credproxy opens another there, and does not ask again for a while.
func (m *monitor) askTopology(ctx context.Context, at *server) (leave bool, err error) {
	answer, ok := m.learn(ctx, at.conn, at.Place)
	if ok {
		return m.follow(answer), nil
	}
	m.mu.Lock()
	m.quiet = time.Now().Add(quietFor)
	if m.switchover.phase != NoSwitchover {
		m.quiet = time.Now().Add(m.o.Monitor)
	}
	m.mu.Unlock()
	return false, m.reopen(ctx, at)
}

// learnFirst asks a server for the others that has just become the one in use.
func (m *monitor) learnFirst(ctx context.Context, at *server) {
	if leave, err := m.askTopology(ctx, at); leave || err != nil {
		m.kick() // the next look says what to do
	}
}

// depart has the sessions at the addresses of the epoch end. m.mu is held.
func (m *monitor) depart(why error) {
	if m.o.Role == Writer {
		for addr := range m.members {
			m.left.add(addr, why)
		}
	}
	clear(m.members)
}

// errLeft is what clients hear whose server has lost the role.
func (m *monitor) errLeft(what string) error {
	return &fault.Error{Kind: fault.Moved, Message: what + ": this session was on a server that is not the " + m.o.Role.String() + " any more", Hint: "Connect again."}
}

// learn asks a server for the others. It is not ok if the server did not answer.
func (m *monitor) learn(ctx context.Context, c Conn, at Place) (answer Answer, ok bool) {
	asking, cancel := context.WithTimeout(ctx, topologyTimeout)
	defer cancel()
	answer, err := c.Ask(asking, at, m.o.Hosts...)
	if err != nil {
		m.o.Log.Debug("a server does not tell of the others", zap.Stringer("server", at), zap.Error(err))
		return Answer{}, false
	}
	if len(answer.Instances) == 0 {
		return answer, true
	}
	m.mu.Lock()
	before := m.known
	m.known = answer.Instances
	m.mu.Unlock()
	if now := places(answer.Instances); !slices.Equal(places(before), now) {
		m.o.Log.Info("servers of the database, as one of them says", zap.Stringer("server", at), zap.Strings("servers", now))
	}
	return answer, true
}

// places are where instances are, as far as that is known, in order.
func places(of []Instance) (all []string) {
	for _, i := range of {
		if i.Place != (Place{}) {
			all = append(all, i.Place.String())
		}
	}
	slices.Sort(all)
	return all
}

// hangUp ends the monitor's session.
func (m *monitor) hangUp() {
	if m.watching != nil {
		_ = m.watching.conn.Close()
		m.watching = nil
	}
}

// sayError tells of an error what a client may read.
func sayError(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return "(" + e.Message + ")"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "does not answer"
	}
	return "broke the connection"
}
