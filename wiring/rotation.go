package wiring

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/rotation"
	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/rotation/mysql"
	"github.com/credproxy/credproxy/rotation/postgres"
	"github.com/credproxy/credproxy/rotation/store"
	"github.com/credproxy/credproxy/secrets"
)

// Link says how a rotation gets to a database, which is by verified TLS in any case.
type Link struct {
	CAFile     string // certificates to trust instead of the system's and RDS's; empty: those
	ServerName string // that the certificate is for; empty: the host
}

// NewRotation returns what rotates secrets by settings. Endpoint is that of Secrets Manager;
// empty: the SDK's.
func NewRotation(ctx context.Context, settings rotation.Settings, link Link, region, endpoint string, log *zap.Logger) (*rotation.Rotation, error) {
	s, err := store.New(ctx, store.Options{Region: region, Endpoint: endpoint})
	if err != nil {
		return nil, err
	}
	return &rotation.Rotation{Settings: settings, Store: s, Log: log, Open: link.open}, nil
}

// How long a rotation waits for a database's addresses, for a connection to it, and for a
// sign of life on one.
const (
	rotationLookupTimeout = 10 * time.Second
	rotationDialTimeout   = 10 * time.Second
	rotationServerTimeout = 30 * time.Second
)

// open returns the server of an engine. Its breaker is none: a step is made once.
func (l Link) open(at secrets.Endpoint) (account.Server, error) {
	cfg := config.Database{
		Engine: config.Engine(at.Engine), Host: at.Host, Port: at.Port,
		TLS:    config.TLS{Mode: config.VerifyFull, CAFile: l.CAFile, ServerName: l.ServerName},
		Limits: config.Limits{LookupTimeout: rotationLookupTimeout, DialTimeout: rotationDialTimeout, ServerTimeout: rotationServerTimeout},
	}
	cfg.Port = cmp.Or(cfg.Port, cfg.Engine.Port())
	dialer, err := NewUpstream(&cfg)
	if err != nil {
		return nil, err
	}
	switch cfg.Engine {
	case config.Postgres:
		return &postgres.Server{Dialer: dialer}, nil
	case config.MySQL, config.MariaDB:
		return mysql.NewServer(dialer), nil
	}
	return nil, fmt.Errorf("engine %q: credproxy rotates users of postgres, mysql and mariadb", at.Engine)
}
