package wiring

import (
	"context"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/mysql"
	"github.com/credproxy/credproxy/proxy/postgres"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// Refusal returns an engine that tells each client, in the words of a protocol, what why
// returns at that time; cancels it serves. certificate is for clients that ask for TLS; nil
// means none.
func (s *Engines) Refusal(protocol config.Engine, certificate *ClientTLS, why func() error) proxy.Engine {
	if protocol != config.Postgres {
		return &mysql.Engine{Upstream: new(upstream.Dialer), Credentials: refusal(why), ClientTLS: certificate.of(protocol)}
	}
	return &postgres.Engine{Upstream: new(upstream.Dialer), Credentials: refusal(why), ClientTLS: certificate.of(protocol), CancelKeys: &s.cancelKeys, CancelElsewhere: s.CancelElsewhere}
}

// refusal has no credential.
type refusal func() error

// Login implements the engines' Credentials.
func (r refusal) Login(context.Context, func(context.Context, *secrets.Credential) error) error {
	return r()
}

// Proven implements the engines' Credentials.
func (r refusal) Proven(context.Context, func(context.Context, *secrets.Credential) error) (*secrets.Credential, error) {
	return nil, r()
}

// Get implements the engines' Credentials.
func (r refusal) Get(context.Context) (*secrets.Credential, error) { return nil, r() }

// Status implements the engines' Credentials.
func (r refusal) Status() secrets.Status { return secrets.Status{} }
