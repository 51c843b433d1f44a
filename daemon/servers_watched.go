package daemon

import (
	"net"
	"time"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/admin/shown"
	"github.com/credproxy/credproxy/probe"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
	"github.com/credproxy/credproxy/wiring"
)

// newServers returns what knows the servers of a database, nil if its clients may get any.
// src is the source of its credential.
func (db *database) newServers(src secrets.Source) *topology.Servers {
	return wiring.NewServers(db.cfg, src, topology.Options{
		Log:      db.log,
		Database: func(cred *secrets.Credential) string { return probe.OwnDatabase(db.cfg, db.cfg.Engine, cred) },
		End:      func(why error, onlyIdle bool, at func(net.Addr, time.Time) bool) { db.server.EndAt(why, onlyIdle, at) },
		Changed: func(after time.Duration) {
			if !db.retired.Load() { // else its successor counts it
				db.observer.WriterChanged(after)
			}
			db.retirePool()
		},
		Found: db.upstream.Breaker.Forget, // logins go past it to where the server was found
		Left:  db.retirePool,
	})
}

// serversStatus says what is known of the servers, nil if clients get any.
func (db *database) serversStatus() *admin.Servers {
	if db.servers == nil {
		return nil
	}
	return shown.Servers(db.servers.Status())
}

// watchServers watches the servers until serving ends.
func (db *database) watchServers() {
	if db.servers != nil {
		db.servers.Run(db.serving, db.cache)
	}
}
