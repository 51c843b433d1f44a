package rotator

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/servers"
)

// Postgres is a PostgreSQL as a [Database]. Passwords are set by its superuser.
type Postgres struct{ *servers.Postgres }

// Login logs in over verified TLS and runs a query.
func (pg Postgres) Login(ctx context.Context, user, password string) error {
	conn, err := pgx.Connect(ctx, pg.URL(user, password, "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return nil
}
