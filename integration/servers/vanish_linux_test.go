package servers_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/servers"
)

func TestVanish(t *testing.T) {
	silent := func(what string, ask func(ctx context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := ask(ctx); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 15})
	must(t, pg.Vanish())
	silent("connection to PostgreSQL", func(ctx context.Context) error {
		_, err := ask(ctx, pg.URL("postgres", "", "postgres"), "SELECT ''")
		return err
	})
	my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: "mysql"})
	must(t, my.CreateUser(t.Context(), "app", "secret", ""))
	connector, err := mysql.NewConnector(my.Config("app", "secret", "app"))
	must(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	session, err := db.Conn(t.Context())
	must(t, err)
	defer session.Close()
	must(t, my.Vanish())
	silent("session at MySQL", func(ctx context.Context) error {
		_, err := session.ExecContext(ctx, "DO 1")
		return err
	})
}
