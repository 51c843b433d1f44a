package wiring

import (
	"context"
	"fmt"
	"strings"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/peer"
)

// NewAccess finds the users of access.uids, and whether clients can be told apart
// on the listeners. Without access.uids that may fail: it is for the log then.
func NewAccess(ctx context.Context, peers *peer.Resolver, cfg *config.Database) (proxy.Access, error) {
	access := proxy.Access{Owner: peers.Owner}
	if len(cfg.Access.UIDs) == 0 {
		return access, nil
	}
	var err error
	if access.UIDs, err = FindUsers("access.uids", cfg.Access.UIDs); err != nil {
		return access, err
	}
	network := "unix"
	for _, addr := range cfg.Listen {
		if !strings.HasPrefix(addr, "unix:") {
			network = "tcp"
		}
	}
	if len(cfg.Listen) == 0 { // the default
		network = "tcp"
	}
	if err := peers.Check(ctx, network); err != nil {
		return access, fmt.Errorf("access.uids: %w", err)
	}
	return access, nil
}
