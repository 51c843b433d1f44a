package topology

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/secrets"
)

// settle makes a server that has the role the one in use, unless the database is not where name says any more.
func (m *monitor) settle(now *server, name Place) bool {
	m.mu.Lock()
	if m.name != name {
		m.mu.Unlock()
		_ = now.conn.Close()
		return false
	}
	was, before := m.trouble, m.last
	same := before == nil || m.o.Role == Reader || now.id == before.id
	moved := !same && now.addr != before.addr // else it was started again, or many share the address
	m.current, m.last, m.watching, m.trouble, m.failed, m.quiet = now, now, now, time.Time{}, nil, time.Time{}
	if !same {
		what := fmt.Sprintf("the database failed over from %s to %s", before.Place, now.Place)
		if !moved {
			what = fmt.Sprintf("the server at %s was started again, or another one answers there", now.Place)
		}
		m.depart(m.errLeft(what))
		m.end(errReplaced)
		m.during, m.end = context.WithCancelCause(context.Background())
		m.switchover = switchover{}
	}
	if moved {
		m.changes++
	}
	if !same || before == nil {
		m.epoch++
	}
	if m.o.Role == Reader || len(m.members) >= MaxInstances {
		clear(m.members)
	}
	m.members[now.addr] = now.Place
	delete(m.leftOut, now.Place)
	m.left.readmit(now.addr, same)
	delete(m.unsure, now.addr)
	m.begun++
	m.done = m.begun
	m.tell()
	m.mu.Unlock()
	var after time.Duration
	if !was.IsZero() {
		after = time.Since(was)
	}
	m.o.Found()
	fields := []zap.Field{zap.Stringer("server", now.Place), zap.Stringer("address", now.addr), zap.Duration("after", after)}
	switch {
	case moved:
		m.o.Changed(after)
		m.o.Log.Warn("the database failed over", append(fields, zap.Stringer("before", before.Place), zap.Bool("audit", true))...)
	case !same:
		m.o.Left()
		m.o.Log.Warn("the "+m.o.Role.String()+" was started again, or another server answers at its address", append(fields, zap.Bool("audit", true))...)
	case !was.IsZero():
		m.o.Log.Info("the "+m.o.Role.String()+" is back", append(fields, zap.Bool("audit", true))...)
	default:
		m.o.Log.Info("the "+m.o.Role.String()+" is known", fields...)
	}
	return true
}

// settleUnsure finds out which server it is that logins found at other addresses.
func (m *monitor) settleUnsure(ctx context.Context) {
	m.mu.Lock()
	current, unsure := m.current, m.unsure
	if current != nil && len(unsure) > 0 {
		m.unsure = map[netip.AddrPort]Place{}
	}
	m.mu.Unlock()
	if current == nil || current.conn == nil || len(unsure) == 0 {
		return
	}
	ids, other := m.identify(ctx, unsure), false
	for _, id := range ids {
		other = other || id != current.id
	}
	if other {
		if role, err := m.look(ctx, current); err != nil || role != m.o.Role {
			m.kick()
			return
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for addr, id := range ids {
		switch {
		case m.current != current || ctx.Err() != nil:
		case id == current.id:
			m.members[addr] = unsure[addr]
			m.left.readmit(addr, true)
		default:
			m.left.add(addr, m.errLeft("the database's "+m.o.Role.String()+" is "+current.Place.String()))
		}
	}
}

// identify returns the ids of the servers at addresses, of those that answer in time.
func (m *monitor) identify(ctx context.Context, at map[netip.AddrPort]Place) map[netip.AddrPort]string {
	ctx, cancel := context.WithTimeout(ctx, firstAttempt)
	defer cancel()
	var asking sync.WaitGroup
	var mu sync.Mutex
	ids := map[netip.AddrPort]string{}
	for addr, place := range at {
		asking.Go(func() {
			_ = m.login(ctx, func(ctx context.Context, cred *secrets.Credential) error {
				s, _, err := m.ask(ctx, cred, Route{Place: place, Addr: addr})
				if err != nil {
					return err
				}
				_ = s.conn.Close()
				mu.Lock()
				defer mu.Unlock()
				ids[addr] = s.id
				return nil
			})
		})
	}
	asking.Wait()
	return ids
}
