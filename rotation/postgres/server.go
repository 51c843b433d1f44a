// Package postgres makes the users of a PostgreSQL server what a rotation wants them to
// be.
//
// Invariant: no password is in any statement, but what a server keeps of it: a SCRAM
// verifier, or an md5 hash where the role has one and the operator says so. All
// statements of a change run in one transaction.
//
// It knows nothing of secrets' versions and labels, and gives no rights on objects: those
// come from roles, or from the first of two users that take turns.
package postgres

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/secrets"
)

// Server is a PostgreSQL server. It is an account.Server.
type Server struct{ Dialer *upstream.Dialer }

// maintenanceDatabase is where a login goes whose secret names no database: every server
// has it unless somebody dropped it.
const maintenanceDatabase = "postgres"

// settings make the session's statements mean one thing, and wait for no lock for long.
const settings = `SELECT set_config('search_path', 'pg_catalog', false), set_config('standard_conforming_strings', 'on', false), set_config('datestyle', 'ISO', false),
	set_config('client_min_messages', 'warning', false), set_config('statement_timeout', '30s', false), set_config('lock_timeout', '10s', false)`

// Login logs in once. The errors are those of [backend.Login] and [backend.Conn.Query].
func (s *Server) Login(ctx context.Context, cred *secrets.Credential) (account.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, upstream.QueryTimeout)
	defer cancel()
	database := cmp.Or(cred.Endpoint.Database, maintenanceDatabase)
	c, err := backend.Login(ctx, backend.Params{Dialer: s.Dialer, Startup: wire.Startup{Version: wire.ProtocolMajor << 16, Params: []wire.Param{
		{Name: "user", Value: cred.Username}, {Name: "database", Value: database}, {Name: "application_name", Value: "credproxy-rotation"},
	}}}, cred)
	if secrets.IsRejected(err) {
		err = fmt.Errorf("%w (PostgreSQL says the same of a role whose VALID UNTIL has expired)", err)
	}
	if err != nil {
		return nil, err
	}
	session := &session{Conn: c, link: s.Dialer.Link(c.Conn)}
	if _, err := c.Query(ctx, settings); err != nil {
		_ = c.Close()
		return nil, err
	}
	return session, nil
}

// session is an account.Session.
type session struct {
	*backend.Conn
	link secrets.Link
}

// Query is that of [backend.Conn], with an end to a server that says nothing.
func (s *session) Query(ctx context.Context, statements ...string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, upstream.QueryTimeout)
	defer cancel()
	return s.Conn.Query(ctx, statements...)
}

// literal writes a string; standard_conforming_strings is on.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// name writes an identifier.
func name(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
