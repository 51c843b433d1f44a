package daemon

import (
	"cmp"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/probe"
	"github.com/credproxy/credproxy/proxy/upstream"
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
		Databases: []admin.Database{}, Discovery: d.discoveryStatus(),
	}
	d.mu.Lock()
	current := byName(d.current)
	d.mu.Unlock()
	for _, db := range d.databases() {
		shown := db.status()
		if next := current[db.cfg.Name]; next != nil && next != db {
			shown.Replacement = cmp.Or(next.trouble(), "not listening yet")
		}
		s.Databases = append(s.Databases, shown)
	}
	return s
}

func (db *database) status() admin.Database {
	why := db.trouble()
	s := admin.Database{
		Name: db.cfg.Name, Reason: why, Credential: db.credentialStatus(),
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
	s.SourceBreaker = sourceBreaker(known)
	s.DatabaseBreaker = databaseBreaker(db.upstream.Breaker.Status())
	s.Probe = probeStatus(db.prober)
	return s
}

func (db *database) credentialStatus() admin.Credential {
	known := db.cache.Status()
	s := admin.Credential{
		Source: known.Source, Accepted: known.Accepted, Refused: known.Refused, Stale: known.Stale,
		NextRefresh: known.NextRefresh.Round(0), NextRotation: known.NextRotation,
	}
	if known.Err != nil {
		s.FetchError = string(secrets.ReasonOf(known.Err))
	}
	if known.Preferred != nil {
		s.User, s.VersionID, s.Expires = known.Preferred.Username, known.Preferred.VersionID, known.Preferred.Expires
		if known.Source == "secrets_manager" { // the others know no labels
			s.Stage = string(known.Stage)
		}
		s.Confirmed, s.AgeSeconds = known.Since.Round(0), time.Since(known.Since).Seconds()
		s.UsableUntil = known.Since.Add(db.cfg.Rotation.MaxStale).Round(0)
	}
	return s
}

// probeStatus returns what came of the last probe, nil if there was none yet.
func probeStatus(p *probe.Prober) *admin.Probe {
	last, ok := p.Last()
	if !ok {
		return nil
	}
	s := &admin.Probe{At: last.At.Round(0), OK: last.Err == nil, Seconds: last.Took.Seconds()}
	if last.Credential != nil {
		s.VersionID = last.Credential.VersionID
	}
	if last.Err != nil {
		s.Error = last.Err.Told()
	}
	return s
}

func sourceBreaker(known secrets.Status) *admin.Breaker {
	if !known.SourceLeftAlone {
		return &admin.Breaker{State: admin.BreakerClosed}
	}
	b := &admin.Breaker{State: admin.BreakerOpen}
	if known.Err != nil {
		b.Error = string(secrets.ReasonOf(known.Err))
	}
	return b
}

func databaseBreaker(now upstream.BreakerStatus) *admin.Breaker {
	b := &admin.Breaker{State: now.State, Since: now.Since.Round(0), RetryAt: now.RetryAt.Round(0)}
	if now.Err != nil {
		b.Error = now.Err.Message
	}
	return b
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
