package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
)

// newAccess finds the users of access.uids, and whether clients can be told apart
// on the listeners. Without access.uids that may fail: it is for the log then.
func newAccess(ctx context.Context, d *daemon, cfg *config.Database) (proxy.Access, error) {
	access := proxy.Access{Owner: d.peers.Owner}
	if len(cfg.Access.UIDs) == 0 {
		return access, nil
	}
	var err error
	if access.UIDs, err = findUsers(cfg.Access.UIDs); err != nil {
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
	if err := d.peers.Check(ctx, network); err != nil {
		return access, fmt.Errorf("access.uids: %w", err)
	}
	return access, nil
}

// findUsers returns the names of the users of access.uids by id, "" for those that
// were given by id.
func findUsers(uids []string) (map[uint32]string, error) {
	users := map[uint32]string{}
	for i, s := range uids {
		uid, name, err := findUser(s)
		if err != nil {
			return nil, fmt.Errorf("access.uids[%d]: %w", i, err)
		}
		users[uid] = name
	}
	return users, nil
}

// findUser returns the id of the user that s names or numbers, and the name if s
// is one.
func findUser(s string) (uid uint32, name string, err error) {
	number := s
	if _, err := strconv.ParseUint(s, 10, 32); err != nil {
		u, err := user.Lookup(s)
		if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
			return 0, "", fmt.Errorf("there is no user %q here; write the number of the user's id", s)
		}
		if err != nil {
			return 0, "", fmt.Errorf("look up user %q: %w", s, err)
		}
		number, name = u.Uid, s
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, "", fmt.Errorf("the user %q has no numeric id on this system", s)
	}
	return uint32(n), name, nil
}
