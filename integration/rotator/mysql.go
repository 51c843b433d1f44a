package rotator

import (
	"context"
	"database/sql"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/servers"
)

// MySQL is a MySQL or MariaDB as a [Database]. Passwords are set by its superuser.
type MySQL struct{ *servers.MySQL }

// Login logs in over verified TLS and runs a query.
func (my MySQL) Login(ctx context.Context, user, password string) error {
	connector, err := mysql.NewConnector(my.Config(user, password, ""))
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var one int // a ping would do without a result
	return db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}
