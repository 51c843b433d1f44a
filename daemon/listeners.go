package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/upgrade"
	"github.com/credproxy/credproxy/wiring"
)

// listener is an open listener. It outlives the database that accepts on it when a
// reload leads it to another one.
type listener struct {
	proxy.Listener
	key   string
	owner *database // that accepts on it; nil: none yet
	stop  func()    // its accepting
}

// maxDefaults is how many databases' default ports are remembered.
const maxDefaults = 4 * config.MaxDatabases

// listeners are all that databases have. daemon.mu guards them.
type listeners struct {
	open      map[string]*listener // by key
	defaults  map[string]int       // ports of databases that list none
	inherited []*inherited
	accepting bool // false in a process that takes over or has handed over

	succession *upgrade.Succession // has those that were open in the old process
}

// key returns the name of the i-th listener of a database: its address, or, where the address
// says any port, a name that no other database has.
func (db *database) key(i int) string {
	addr := db.cfg.Listen[i]
	if _, port, err := net.SplitHostPort(addr); err == nil && port == "0" {
		return fmt.Sprintf("%s, the %d. of %s", addr, i, db.cfg.Name)
	}
	return wiring.Canonical(addr)
}

// listen opens what db's configuration lists and is not open yet. Systemd may have
// passed it, or the listeners of a database that lists none.
func (l *listeners) listen(ctx context.Context, db *database) error {
	if len(db.cfg.Listen) == 0 {
		return l.takeNamed(db)
	}
	for i, addr := range db.cfg.Listen {
		var err error
		if port := config.LocalhostPort(addr); port != 0 {
			err = l.listenLoopback(ctx, db, port)
		} else {
			err = l.listenOn(ctx, db, db.key(i), addr)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listenDefault opens loopback at the database's default port.
func (l *listeners) listenDefault(ctx context.Context, db *database, cfg *config.Config) error {
	name, port := l.defaultPort(db, cfg)
	if db.fileConfig.Found {
		l.defaults[name] = port // also if another program has it: the next one found is to get another
	}
	if err := l.listenLoopback(ctx, db, port); err != nil {
		return err
	}
	l.defaults[name] = port
	return nil
}

// defaultPort returns the engine's port, or the next one that is neither open for another
// database nor asked for by one of cfg. A database keeps its port while it has its name and
// engine; one that was found also keeps away from those of databases that may be found again.
func (l *listeners) defaultPort(db *database, cfg *config.Config) (name string, port int) {
	name = fmt.Sprintf("%s, %s", db.cfg.Name, db.cfg.Engine)
	if len(l.defaults) >= maxDefaults {
		clear(l.defaults) // those that are open are taken all the same
	}
	taken := l.ports(cfg, db.cfg.Name)
	for other, port := range l.defaults {
		if db.fileConfig.Found && other != name {
			taken[port] = true
		}
	}
	port, ok := l.defaults[name]
	if !ok || taken[port] {
		reserved := db.reserved
		for port = db.cfg.Engine.Port(); taken[port] || reserved > 0; port++ {
			if !taken[port] {
				reserved--
			}
		}
	}
	return name, port
}

// listenLoopback opens both loopback addresses at a port, because some clients take
// localhost for the one, some for the other, and not all try the other then. An address
// that this machine does not have is left out.
func (l *listeners) listenLoopback(ctx context.Context, db *database, port int) error {
	before, opened, missing := len(db.listeners), 0, error(nil)
	for _, host := range config.Loopback {
		addr := net.JoinHostPort(host, strconv.Itoa(port))
		switch err := l.listenOn(ctx, db, addr, addr); {
		case err == nil:
			opened++
		case absent(err):
			missing = err
		default:
			l.giveBack(db, before)
			return err
		}
	}
	if opened == 0 {
		return missing
	}
	return nil
}

// giveBack takes from db what listenOn has given it, but for so many, and closes what nobody
// else has: clients would wait there for nobody.
func (l *listeners) giveBack(db *database, but int) {
	for _, ln := range db.listeners[but:] {
		if ln.owner == nil {
			l.close(ln)
		}
	}
	db.listeners = db.listeners[:but]
}

// absent reports whether an address could not be listened on because the machine has no
// addresses of its family (socket(2)), or not this one (bind(2)), as where IPv6 is off.
func absent(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

func (l *listeners) listenOn(ctx context.Context, db *database, key, addr string) error {
	ln := l.find(addr)
	if ln == nil && l.open[key] == nil {
		var err error
		if passed := l.succession.Listener(upgrade.Key{Kind: ofDatabase, Name: key}); passed != nil {
			ln, err = proxy.Inherit(passed, addr)
		} else {
			ln, err = proxy.Listen(ctx, addr)
		}
		if err != nil {
			return fmt.Errorf("database %s: %w", db.cfg.Name, err)
		}
	}
	return l.add(db, key, ln)
}

// add gives db the listener at key, which is ln if there is none yet. A database that was
// found takes none that another has: that one's clients would be logged in elsewhere.
func (l *listeners) add(db *database, key string, ln proxy.Listener) error {
	if l.open[key] == nil {
		l.open[key] = &listener{Listener: ln, key: key}
	} else if db.fileConfig.Found {
		for _, other := range db.daemon.current {
			if other.cfg.Name != db.cfg.Name && slices.Contains(other.listeners, l.open[key]) {
				return fmt.Errorf("database %s: the listener %s is that of %s", db.cfg.Name, key, other.cfg.Name)
			}
		}
	}
	db.listeners = append(db.listeners, l.open[key])
	return nil
}

// ports returns those that are open for databases of other names than the one given, or
// that databases ask for by number.
func (l *listeners) ports(cfg *config.Config, name string) map[int]bool {
	taken := asked(cfg)
	for _, ln := range l.open {
		if a, ok := ln.Addr().(*net.TCPAddr); ok && (ln.owner == nil || ln.owner.cfg.Name != name) {
			taken[a.Port] = true
		}
	}
	return taken
}

// asked returns the ports that databases of cfg ask for by number.
func asked(cfg *config.Config) map[int]bool {
	ports := map[int]bool{}
	for _, db := range cfg.Databases {
		for _, addr := range db.Listen {
			if _, port, err := net.SplitHostPort(addr); err == nil {
				n, _ := strconv.Atoi(port)
				ports[n] = true
			}
		}
	}
	return ports
}

// displaced reports whether db has a port by default that cfg now gives to another.
func (db *database) displaced(cfg *config.Config) bool {
	ports := asked(cfg)
	return len(db.fileConfig.Listen) == 0 && slices.ContainsFunc(db.listeners, func(ln *listener) bool {
		a, ok := ln.Addr().(*net.TCPAddr)
		return ok && ports[a.Port]
	})
}

// accept has db accept on ln from now on, in place of who did.
func (ln *listener) accept(db *database) {
	ln.release()
	ln.owner = db
	if db.daemon.listeners.accepting {
		ln.serve()
	}
}

func (ln *listener) serve() {
	ln.stop = ln.owner.server.Serve(ln.owner.daemon.serving, ln.owner.sessions, ln.Listener)
}

func (ln *listener) release() {
	if ln.stop != nil {
		ln.stop()
	}
	ln.owner, ln.stop = nil, nil
}

func (l *listeners) close(ln *listener) {
	ln.release()
	_ = ln.Close()
	delete(l.open, ln.key)
}

// giveUp takes its listeners from db. No client may wait where nobody accepts.
func (l *listeners) giveUp(db *database) {
	for _, ln := range db.listeners {
		if ln.owner == nil {
			l.close(ln)
		}
	}
	db.listeners = nil
}

// owned reports whether db accepts on any.
func (l *listeners) owned(db *database) bool {
	for _, ln := range l.open {
		if ln.owner == db {
			return true
		}
	}
	return false
}
