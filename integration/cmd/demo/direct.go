package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// attempts are logins of a client that goes to the database directly.
type attempts struct {
	logins, failed int
	message        string // of the first failure
}

func (a *attempts) add(err error) {
	a.logins++
	if err == nil {
		return
	}
	a.failed++
	if a.message == "" {
		a.message = err.Error()
	}
}

// keepFirstPassword is an application that reads its password once, at its start,
// and connects now and then until ctx ends.
func (db *database) keepFirstPassword(ctx context.Context) {
	const pause = 250 * time.Millisecond
	for wait(ctx, pause) == nil {
		if err := db.Login(ctx, users[0], db.first); ctx.Err() == nil {
			db.stale.add(err)
		}
	}
}

// timeLogins takes turns, so that both ways meet the same machine.
func (s *stage) timeLogins(ctx context.Context, db *database) error {
	var direct, proxied []time.Duration
	user, password := s.current(db)
	for range s.plan.samples {
		begun := time.Now()
		if err := db.Login(ctx, user, password); err != nil {
			return fmt.Errorf("direct login: %w", err)
		}
		direct = append(direct, time.Since(begun))
		begun = time.Now()
		if err := db.Connect(ctx, db.addr); err != nil {
			return fmt.Errorf("login through credproxy: %w", err)
		}
		proxied = append(proxied, time.Since(begun))
	}
	db.direct, db.proxied = median(direct), median(proxied)
	return nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
