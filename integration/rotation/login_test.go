package rotation_test

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/servers"
)

func askPostgres(ctx context.Context, pg *servers.Postgres, user, password, sql string) error {
	conn, err := pgx.Connect(ctx, pg.URL(user, password, "postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}
