package daemon

import (
	"cmp"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/admin/shown"
	"github.com/credproxy/credproxy/secrets"
)

// status returns what the daemon knows now.
func (d *daemon) status() admin.Status {
	now := time.Now()
	reasons := d.notReady()
	s := admin.Status{
		Version: d.version, PID: os.Getpid(),
		Now: now.Round(0), Started: d.started.Round(0), UptimeSeconds: now.Sub(d.started).Seconds(),
		Ready: len(reasons) == 0, Reasons: reasons, Draining: d.draining.Load(), Reload: d.reloaded.Load(),
		Databases: []admin.Database{}, Discovery: shown.Discovery(d.finder.Status()),
	}
	d.mu.Lock()
	current := byName(d.current)
	d.mu.Unlock()
	for _, db := range d.databases() {
		one := db.status()
		if next := current[db.cfg.Name]; next != nil && next != db {
			one.Replacement = cmp.Or(next.trouble(), "not listening yet")
		}
		s.Databases = append(s.Databases, one)
	}
	s.Predecessors = d.older.States()
	return s
}

func (db *database) status() admin.Database {
	why := db.trouble()
	s := admin.Database{
		Name: db.cfg.Name, Reason: why, Credential: shown.Credential(db.cache.Status(), db.cfg.Rotation.MaxStale),
		Sessions: admin.Sessions{
			Active: db.server.Active(), Limit: db.cfg.Limits.MaxConnections,
			BytesToUpstream: db.server.Traffic.ToUpstream.Load(), BytesToClient: db.server.Traffic.ToClient.Load(),
		},
	}
	if db.listening.Load() { // the engine and what follows from it are settled
		s.Engine, s.Listeners, s.Upstream = string(db.cfg.Engine), db.addrs, db.upstreamName()
	}
	s.Ready = s.Reason == ""
	db.tally.Fill(&s)
	s.Recent, s.Pool, s.Servers = db.observer.Recent(), db.poolStatus(), db.serversStatus()
	known := db.cache.Status()
	s.BreakGlass = db.breakGlassStatus(known)
	s.SourceBreaker = shown.SourceBreaker(known)
	s.DatabaseBreaker = shown.DatabaseBreaker(db.upstream.Breaker.Status())
	s.Probe = shown.Probe(db.prober)
	return s
}

// upstreamName returns host:port of the database, "" while the secret that names it is
// not there.
func (db *database) upstreamName() string {
	cred := db.cache.Status().Preferred
	if cred == nil {
		cred = &secrets.Credential{}
	}
	host, port, err := db.upstream.Target(cred)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// listenerName returns a listener's address as the configuration would write it.
func listenerName(ln net.Listener) string {
	if a := ln.Addr(); a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return ln.Addr().String()
}
