package config

import (
	"cmp"
	"net/netip"
	"path/filepath"
	"strings"
)

// listeners are those seen so far, to find two that cannot both be opened.
type listeners struct {
	unix map[string]string            // clean path to where it is configured
	tcp  map[uint16]map[string]string // port, host as bound, to where it is configured
}

// add returns the path of an earlier listener in the way of this one, or "". A
// wildcard takes its port on every address. Port 0 is never in the way.
func (l *listeners) add(network, address, path string) (taken string) {
	if network == "unix" {
		key := filepath.Clean(address)
		if taken = l.unix[key]; taken == "" {
			l.unix[key] = path
		}
		return taken
	}
	host, port, err := splitHostPort(address)
	if err != nil || port == 0 {
		return ""
	}
	on := l.tcp[port]
	if on == nil {
		on = make(map[string]string)
		l.tcp[port] = on
	}
	for _, host := range bound(host) {
		if taken == "" {
			taken = cmp.Or(on[host], on[""])
		}
		if host == "" {
			for _, other := range on {
				taken = other
			}
		}
	}
	if taken == "" {
		for _, host := range bound(host) {
			on[host] = path
		}
	}
	return taken
}

// bound returns what a host stands for, as it is bound: "" for all addresses.
func bound(host string) []string {
	if strings.EqualFold(host, localhost) {
		return Loopback
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return []string{strings.ToLower(host)}
	case addr.IsUnspecified():
		return []string{""}
	}
	return []string{addr.Unmap().String()}
}

func (v *validator) listeners(at string, d *Database) {
	if len(d.Listen) == 0 && v.written(at+".listen") {
		v.fail(at+".listen", "empty; write a listener, or remove the key for loopback on the engine's port")
	}
	for i, s := range d.Listen {
		path := v.entry(at+".listen", i)
		network, address, err := ParseListener(s)
		if err != nil {
			v.fail(path, err.Error())
			continue
		}
		if taken := v.listen.add(network, address, path); taken != "" {
			v.failf(path, "%q is already taken by %s; use another port or path", s, taken)
		}
		if network == "tcp" {
			v.remote(path, address, d)
		}
	}
}

// AllowsRemote reports whether d may have a listener that other machines can reach: its
// clients show a certificate, or access.allow_remote is set, and access.uids, which cannot
// be checked there, is not.
func (d *Database) AllowsRemote() bool {
	return len(d.Access.UIDs) == 0 && (d.ClientTLS.ClientCAFile != "" || d.Access.AllowRemote)
}

// remote checks a listener that other machines can reach.
func (v *validator) remote(path, address string, d *Database) {
	host, _, _ := splitHostPort(address)
	switch {
	case loopback(host) || d.AllowsRemote():
	case len(d.Access.UIDs) > 0:
		v.failf(path, "%q is open to other machines, where access.uids cannot be checked; listen on loopback or a unix socket, or remove access.uids", address)
	default:
		v.failf(path, "%q is open to other machines; set client_tls.client_ca_file so that clients must show a certificate, or write access.allow_remote: true", address)
	}
}
