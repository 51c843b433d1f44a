package rotation_test

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/servers"
)

func loginPostgres(ctx context.Context, pg *servers.Postgres, user, password string) error {
	conn, err := pgx.Connect(ctx, pg.URL(user, password, "postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
