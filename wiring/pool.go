package wiring

import (
	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/pool"
)

// NewPool returns what keeps the server sessions of a database, nil if it keeps none.
func NewPool(cfg config.Pool, observe func(pool.Event)) *pool.Pool {
	if cfg.Mode != config.PoolSession {
		return nil
	}
	return pool.New(pool.Options{
		MaxIdle: cfg.MaxIdle, Warm: cfg.Warm, MaxOpen: cfg.MaxServerConnections,
		WaitTimeout: cfg.WaitTimeout, IdleTimeout: cfg.IdleTimeout, MaxLifetime: cfg.MaxLifetime,
		Observe: observe,
	})
}
