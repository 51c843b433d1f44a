package rotation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/probe"
	"github.com/credproxy/credproxy/rotation/account"
)

// Check logs in with AWSCURRENT and asks the database something; with WriteTable it writes a
// row there too, and takes it back. Where MySQL has kept the password before this one, and
// AWSCURRENT is older than DiscardAfter, it is discarded. It tells the engine.
func (r *Rotation) Check(ctx context.Context, secretID string) (engine string, err error) {
	d, err := r.Store.Describe(ctx, secretID)
	if err != nil {
		return "", err
	}
	t, err := r.load(ctx, d, Event{Step: "check", SecretID: secretID})
	if err != nil {
		return "", explained{err}
	}
	engine = t.current.cred.Endpoint.Engine
	if err := t.check(ctx); err != nil {
		return engine, fmt.Errorf("connectivity check of secret %s: %w", secretID, explained{err})
	}
	t.event.Token = t.current.ID
	t.done(t.event, "AWSCURRENT logs in", zap.String("user", t.current.cred.Username))
	return engine, nil
}

func (t *task) check(ctx context.Context) error {
	session, err := t.login(ctx, t.current)
	if err != nil {
		return err
	}
	defer session.Close()
	if _, err := session.Query(ctx, "SELECT 1"); err != nil {
		return fmt.Errorf("with %s: %w", t.current, err)
	}
	if t.WriteTable != "" {
		if err := t.writeRow(ctx, session); err != nil {
			return fmt.Errorf("with %s: table %s: %w", t.current, t.WriteTable, err)
		}
	}
	if t.DiscardAfter <= 0 || time.Since(t.current.Created) < t.DiscardAfter || unfinished(t.secret) != "" {
		return nil
	}
	return t.discard(ctx, session)
}

// discard has the database take AWSCURRENT's password alone. The session is of its user; what
// a master has set, a master takes back.
func (t *task) discard(ctx context.Context, session account.Session) error {
	if t.strategy != Single {
		return nil
	}
	if t.masterID != "" {
		master, err := t.master(ctx)
		if err != nil {
			return err
		}
		defer master.Close()
		session = master
	}
	d, ok := session.(account.Discarder)
	if !ok {
		return nil
	}
	statements, err := d.Discard(ctx, t.current.cred)
	if err != nil {
		return err
	}
	return Apply(ctx, session, statements)
}

// writeRow writes a row of defaults, reads the table, and lets the session's end take the
// row back.
func (t *task) writeRow(ctx context.Context, session account.Session) error {
	engine, table := config.Engine(t.current.cred.Endpoint.Engine), t.WriteTable
	if db := t.current.cred.Endpoint.Database; engine != config.Postgres && db != "" && !strings.Contains(table, ".") {
		table = db + "." + table // the session has no database
	}
	_, err := session.Query(ctx, probe.WriteStatements(engine, table)...)
	return err
}
