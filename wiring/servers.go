package wiring

import (
	"context"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/rdsiam"
	"github.com/credproxy/credproxy/topology"
)

// NewServers returns what knows the servers of the database, nil if its clients may get any.
// src is the source of its credential; o holds what the configuration does not say.
func NewServers(cfg *config.Database, src secrets.Source, o topology.Options) *topology.Servers {
	switch cfg.Role {
	case config.Writer:
		o.Role = topology.Writer
	case config.Reader:
		o.Role = topology.Reader
	default:
		return nil
	}
	o.Hosts = Hosts(cfg)
	if iam, ok := src.(*rdsiam.Source); ok && cfg.Credentials.IAM != nil && cfg.Credentials.IAM.SigningHost == "" {
		o.Token = func(ctx context.Context, inForce *secrets.Credential, p topology.Place) (*secrets.Credential, error) {
			return iam.At(ctx, inForce, p.Host, p.Port)
		}
	}
	f := cfg.Failover
	o.Monitor, o.Drain, o.Hold, o.LoginTimeout = f.Monitor, f.Drain, f.Hold, cfg.Limits.LoginTimeout
	o.MaxLag, o.ReaderFallback = f.MaxLag, f.ReaderFallback == config.FallbackWriter
	return topology.New(o)
}

// Hosts returns the places that hosts of the configuration names.
func Hosts(cfg *config.Database) (all []topology.Place) {
	for _, s := range cfg.Hosts {
		host, port, _ := config.SplitHost(s) // it was checked
		all = append(all, topology.Place{Host: host, Port: port})
	}
	return all
}
