package rotation_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
)

// askPostgres connects, runs a statement and leaves, each once.
func askPostgres(ctx context.Context, url, statement string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// askMySQL is askPostgres for MySQL and MariaDB.
func askMySQL(ctx context.Context, c *mysqldriver.Config, statement string) error {
	c.Logger = &mysqldriver.NopLogger{}
	connector, err := mysqldriver.NewConnector(c)
	if err != nil {
		return err
	}
	conn, err := connector.Connect(ctx) // database/sql would try again
	if err != nil {
		return err
	}
	defer conn.Close()
	db := sql.OpenDB(one{connector, conn})
	defer db.Close()
	_, err = db.ExecContext(ctx, statement)
	return err
}

// throughPostgres and throughMySQL connect through credproxy.
func throughPostgres(ctx context.Context, addr string) error {
	return askPostgres(ctx, fmt.Sprintf("postgres://anybody@%s/postgres?sslmode=disable", addr), "SELECT 1")
}

func throughMySQL(ctx context.Context, addr string) error {
	c := mysqldriver.NewConfig()
	c.User, c.Net, c.Addr = "anybody", "tcp", addr
	return askMySQL(ctx, c, "DO 1")
}

// one is a connector that has one connection.
type one struct {
	driver.Connector
	conn driver.Conn
}

func (o one) Connect(context.Context) (driver.Conn, error) { return o.conn, nil }
