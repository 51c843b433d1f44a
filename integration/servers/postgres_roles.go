package servers

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Exec runs one or more statements as the superuser, in one transaction unless
// they say otherwise.
func (pg *Postgres) Exec(ctx context.Context, sql string) error {
	conn, err := pg.Superuser(ctx)
	if err != nil {
		return fmt.Errorf("superuser: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("superuser: %w", err)
	}
	return nil
}

// CreateRole makes a role that logs in with a password. Attributes are those of
// CREATE ROLE, such as REPLICATION or CONNECTION LIMIT 2.
func (pg *Postgres) CreateRole(ctx context.Context, user, password string, attributes ...string) error {
	return pg.Exec(ctx, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD %s %s", name(user), literal(password), strings.Join(attributes, " ")))
}

// CreateIAMRole makes a role that logs in with a token; PostgresOptions.IAM decides about it.
func (pg *Postgres) CreateIAMRole(ctx context.Context, user string, attributes ...string) error {
	return pg.Exec(ctx, fmt.Sprintf("CREATE ROLE %s LOGIN %s; GRANT rds_iam TO %[1]s", name(user), strings.Join(attributes, " ")))
}

// SetPassword gives a role another password, as a rotation does. Sessions go on.
func (pg *Postgres) SetPassword(ctx context.Context, user, password string) error {
	return pg.Exec(ctx, fmt.Sprintf("ALTER ROLE %s PASSWORD %s", name(user), literal(password)))
}

func name(s string) string { return pgx.Identifier{s}.Sanitize() }

// literal quotes s in the E form, whatever standard_conforming_strings says.
func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}
