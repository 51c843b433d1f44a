package wiring

import (
	"context"
	"crypto/tls"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/mysql"
	"github.com/credproxy/credproxy/proxy/pool"
	"github.com/credproxy/credproxy/proxy/postgres"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
)

// Engine serves clients, and asks the database what credproxy itself wants to know.
type Engine interface {
	proxy.Engine
	Query(ctx context.Context, cred *secrets.Credential, database string, statements ...string) ([][]string, error)
}

// Engines makes the engines of one process, which share what outlives each of them. The
// zero value is ready to use.
type Engines struct {
	// CancelElsewhere is [postgres.Engine]'s.
	CancelElsewhere func(ctx context.Context, request []byte) (result string)
	cancelKeys      postgres.CancelKeys
}

// Cancel forwards a cancel request of PostgreSQL that came to another process, and returns
// what became of it.
func (s *Engines) Cancel(ctx context.Context, request []byte) (result string, err error) {
	return s.cancelKeys.Forward(ctx, request)
}

// New returns the engine for cfg.Engine, which must be known. It completes up with
// what follows from that. certificate is for clients that ask for TLS; nil means none.
// sessions keeps server sessions; nil: none are. servers knows which server clients are to
// get; nil: any.
func (s *Engines) New(cfg *config.Database, up *upstream.Dialer, cache *secrets.Cache, certificate *ClientTLS, sessions *pool.Pool, servers *topology.Servers) Engine {
	up.DefaultPort = cfg.Engine.Port()
	requireTLS, noDatabase := cfg.ClientTLS.ClientCAFile != "", cfg.Database == config.NoDatabase
	if cfg.Engine == config.Postgres {
		return &postgres.Engine{
			Upstream: up, Credentials: cache,
			Database: cfg.Database, Databases: cfg.Access.Databases, Role: cfg.Session.Role, NoDatabase: noDatabase,
			ClientTLS:   certificate.of(cfg.Engine),
			Replication: cfg.Access.Replication, RequireTLS: requireTLS, CancelKeys: &s.cancelKeys, CancelElsewhere: s.CancelElsewhere, Pool: sessions, Servers: servers,
		}
	}
	// Servers of MySQL resume TLS sessions, which halves the handshake.
	up.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	return &mysql.Engine{
		Upstream: up, Credentials: cache,
		Database: cfg.Database, Databases: cfg.Access.Databases,
		ClientTLS: certificate.of(cfg.Engine), RequireTLS: requireTLS, NoDatabase: noDatabase, MariaDB: cfg.Engine == config.MariaDB, Pool: sessions, Servers: servers,
	}
}
