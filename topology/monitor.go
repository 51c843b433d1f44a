package topology

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	topologyTimeout = 5 * time.Second
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
	from   Credentials
	engine Engine
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
	if current == nil || !m.has(ctx, current, topology) {
		m.search(ctx)
	}
	m.settleUnsure(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = m.begun
	close(m.news)
	m.news = make(chan struct{})
}

// has reports whether the server still has the role, as it says itself.
func (m *monitor) has(ctx context.Context, at *server, topology bool) bool {
	if at.conn == nil { // learned from a predecessor: the search finds it first
		return false
	}
	asking, cancel := context.WithTimeout(ctx, checkTimeout)
	role, _, err := at.conn.Role(asking)
	cancel()
	switch {
	case err == nil && role == m.o.Role && !m.asksTopology(at, topology):
		return true
	case err == nil && role == m.o.Role && !m.follow(m.learn(ctx, at.conn, at.Place)):
		return true
	case ctx.Err() != nil:
		return true // nobody knows
	}
	_ = at.conn.Close()
	m.mu.Lock()
	if m.trouble.IsZero() {
		m.trouble = time.Now()
	}
	m.current = nil
	name, what := at.Place, sayError(err)
	if err == nil && role == m.o.Role {
		what = "is what a Blue/Green switchover left"
	} else if err == nil {
		what = "is a " + role.String()
		m.depart(m.errLeft(at.Place.String() + " " + what + " by now"))
	}
	m.mu.Unlock()
	m.o.Log.Warn("the "+m.o.Role.String()+" is gone: looking for another", zap.Stringer("server", name), zap.String("what", what),
		zap.Stringer("address", at.addr), zap.Bool("audit", true))
	if err == nil {
		m.o.Left()
	}
	return false
}

// asksTopology reports whether the server in use is to be asked for the others: in its turn,
// for each look where the lag of readers counts, and during a switchover.
func (m *monitor) asksTopology(at *server, turn bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.o.Role == Reader && !m.hasReader() {
		delete(m.leftOut, at.Place)
	}
	return turn || m.o.Role == Reader || m.switchover.phase != NoSwitchover
}

// depart has the sessions at the addresses of the epoch end. m.mu is held.
func (m *monitor) depart(why error) {
	for addr := range m.members {
		if m.o.Role == Writer {
			m.left.add(addr, why)
		}
	}
	clear(m.members)
}

// errLeft is what clients hear whose server has lost the role.
func (m *monitor) errLeft(what string) error {
	return &fault.Error{Kind: fault.Moved, Message: what + ": this session was on a server that is not the " + m.o.Role.String() + " any more", Hint: "Connect again."}
}

// learn asks a server for the others.
func (m *monitor) learn(ctx context.Context, c Conn, at Place) Answer {
	asking, cancel := context.WithTimeout(ctx, topologyTimeout)
	defer cancel()
	answer, err := c.Ask(asking, at, m.o.Hosts...)
	if err != nil {
		m.o.Log.Debug("a server does not tell of the others", zap.Stringer("server", at), zap.Error(err))
		return Answer{}
	}
	if len(answer.Instances) == 0 {
		return answer
	}
	m.mu.Lock()
	before := m.known
	m.known = answer.Instances
	m.mu.Unlock()
	if now := places(answer.Instances); !slices.Equal(places(before), now) {
		m.o.Log.Info("servers of the database, as one of them says", zap.Stringer("server", at), zap.Strings("servers", now))
	}
	return answer
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

// settle makes a server that has the role the one in use.
func (m *monitor) settle(now *server) {
	m.mu.Lock()
	was := m.trouble
	same := m.members[now.addr] || m.epoch == 0 || m.o.Role == Reader
	m.current, m.trouble, m.failed = now, time.Time{}, nil
	before := m.last
	m.last = now.Place
	if !same {
		m.depart(m.errLeft(fmt.Sprintf("the database failed over from %s to %s", before, now.Place)))
		m.changes++
		m.end(errReplaced)
		m.during, m.end = context.WithCancelCause(context.Background())
	}
	if !same || m.epoch == 0 {
		m.epoch++
	}
	m.members[now.addr] = true
	m.switchover = switchover{}
	delete(m.leftOut, now.Place)
	m.left.remove(now.addr)
	delete(m.unsure, now.addr)
	m.mu.Unlock()
	var after time.Duration
	if !was.IsZero() {
		after = time.Since(was)
	}
	fields := []zap.Field{zap.Stringer("server", now.Place), zap.Stringer("address", now.addr), zap.Duration("after", after)}
	switch {
	case !same:
		m.o.Changed(after)
		m.o.Log.Warn("the database failed over", append(fields, zap.Stringer("before", before), zap.Bool("audit", true))...)
	case !was.IsZero():
		m.o.Log.Info("the "+m.o.Role.String()+" is back", append(fields, zap.Bool("audit", true))...)
	default:
		m.o.Log.Info("the "+m.o.Role.String()+" is known", fields...)
	}
}

// settleUnsure finds out which server it is that logins found at other addresses.
func (m *monitor) settleUnsure(ctx context.Context) {
	m.mu.Lock()
	current, unsure := m.current, m.unsure
	if current != nil {
		m.unsure = map[netip.AddrPort]Place{}
	}
	m.mu.Unlock()
	if current == nil {
		return
	}
	for addr, place := range unsure {
		var other *server
		err := m.login(ctx, func(ctx context.Context, cred *secrets.Credential) (err error) {
			other, _, err = m.ask(ctx, cred, Route{Place: place, Addr: addr})
			return err
		})
		if other != nil {
			_ = other.conn.Close()
		}
		m.mu.Lock()
		switch {
		case m.current != current || ctx.Err() != nil:
		case err == nil && other != nil && other.id == current.id:
			m.members[addr] = true
		case err == nil:
			m.left.add(addr, m.errLeft("the database's "+m.o.Role.String()+" is "+current.Place.String()))
		}
		m.mu.Unlock()
	}
}

// hangUp ends the monitor's session.
func (m *monitor) hangUp() {
	m.mu.Lock()
	current := m.current
	m.mu.Unlock()
	if current != nil && current.conn != nil {
		_ = current.conn.Close()
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
