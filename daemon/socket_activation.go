package daemon

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/upgrade"
	"github.com/credproxy/credproxy/wiring"
)

// inherited is a listener that systemd opened, which is its to close: between two
// processes clients wait in its queue.
type inherited struct {
	proxy.Listener
	addr string // as the configuration would write it
	name string // FileDescriptorName=, for a database that leaves its address open
}

// inheritListeners takes what systemd passes (sd_listen_fds(3)), or has passed the old process.
func (d *daemon) inheritListeners() error {
	for _, f := range activation.Files(true) {
		ln, err := net.FileListener(f)
		if err != nil {
			return fmt.Errorf("socket %s from systemd: no listening stream socket: %w", f.Name(), err)
		}
		_ = f.Close() // ln has a copy
		if err := d.listeners.inherit(ln, f.Name()); err != nil {
			return err
		}
	}
	for _, name := range d.succession.Keys(ofSystemd) {
		if err := d.listeners.inherit(d.succession.Listener(upgrade.Key{Kind: ofSystemd, Name: name}), name); err != nil {
			return err
		}
	}
	return nil
}

func (l *listeners) inherit(ln net.Listener, name string) error {
	stream, ok := ln.(proxy.Listener)
	if !ok {
		return fmt.Errorf("socket %s from systemd: neither TCP nor a unix stream socket", name)
	}
	l.inherited = append(l.inherited, &inherited{Listener: stream, addr: listenerName(ln), name: name})
	return nil
}

// takeNamed gives db, whose configuration names no address, the sockets that bear
// its name. The rules for listeners off loopback hold for them too.
func (l *listeners) takeNamed(db *database) error {
	for _, in := range l.inherited {
		if in.name != db.cfg.Name {
			continue
		}
		if a, ok := in.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && !db.cfg.AllowsRemote() {
			return config.Invalid(fmt.Errorf("database %s: socket %s from systemd is open to other machines; set client_tls.client_ca_file or access.allow_remote, without access.uids", db.cfg.Name, in.addr))
		}
		if err := l.add(db, in.addr, in); err != nil {
			return err
		}
	}
	return nil
}

// find returns the inherited listener at addr, nil if there is none.
func (l *listeners) find(addr string) proxy.Listener {
	i := slices.IndexFunc(l.inherited, func(in *inherited) bool { return wiring.Canonical(in.addr) == wiring.Canonical(addr) })
	if i < 0 {
		return nil
	}
	return l.inherited[i]
}

// unmatched returns an error if systemd passed a socket that no database has, and none that
// may still be found.
func (l *listeners) unmatched(cfg *config.Config) error {
	if len(cfg.Discover) > 0 {
		return nil
	}
	var names []string
	for _, db := range cfg.Databases {
		names = append(names, db.Name)
	}
	for _, in := range l.inherited {
		if l.open[in.addr] == nil {
			return config.Invalid(fmt.Errorf("socket %s (%s) from systemd is no database's: write its address at listen, or leave listen away and set FileDescriptorName= to one of %s",
				in.addr, in.name, strings.Join(names, ", ")))
		}
	}
	return nil
}

// pauseInherited has nobody accept on the sockets of systemd's, and returns who did.
func (l *listeners) pauseInherited() map[*listener]*database {
	owners := map[*listener]*database{}
	for _, ln := range l.open {
		if _, ok := ln.Listener.(*inherited); ok && ln.owner != nil {
			owners[ln] = ln.owner
			ln.release()
		}
	}
	return owners
}

// forget closes this process's copies, for the exit.
func (l *listeners) forget() {
	for _, in := range l.inherited {
		_ = in.Listener.Close()
	}
}

// Close implements net.Listener: the socket stays, for a reload that wants it again
// and for the next process.
func (in *inherited) Close() error { return nil }
