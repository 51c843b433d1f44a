package daemon

import (
	"net"
	"time"

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
		End:      func(why error, onlyIdle bool, at func(net.Addr) bool) { db.server.EndAt(why, onlyIdle, at) },
		Changed: func(time.Duration) {
			if db.pool != nil {
				db.pool.Retire()
			}
			db.upstream.Breaker.Forget()
		},
	})
}

// watchServers watches the servers until serving ends.
func (db *database) watchServers() {
	if db.servers != nil {
		db.servers.Run(db.serving, db.cache)
	}
}
