package servers_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/servers"
)

// Two addresses of this machine for one port.
const hostA, hostB = "127.0.0.2", "127.0.0.3"

func TestMySQLChangesRoles(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		ctx := t.Context()
		a := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, Host: hostA, Binlog: true})
		must(t, a.CreateUser(ctx, "app", "secret", ""))
		must(t, a.Exec(ctx, "CREATE TABLE app.t (i INT PRIMARY KEY)"))
		b := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, Host: hostB, Port: a.Port, ReplicaOf: a})
		insert := func(my *servers.MySQL, i int) error {
			connector, err := mysql.NewConnector(my.Config("app", "secret", "app"))
			must(t, err)
			db := sql.OpenDB(connector)
			defer db.Close()
			_, err = db.ExecContext(ctx, "INSERT INTO t VALUES (?)", i)
			return err
		}
		rows := func(my *servers.MySQL, want string) {
			t.Helper()
			got, err := askMySQL(ctx, my.Config("app", "secret", "app"), "SELECT COALESCE(group_concat(i ORDER BY i), '') FROM t")
			if err != nil || got != want {
				t.Errorf("%s has rows %q, want %q: %v", my.Host, got, want, err)
			}
		}
		// Forth and back, sessions stay.
		connector, err := mysql.NewConnector(a.Config("app", "secret", "app"))
		must(t, err)
		db := sql.OpenDB(connector)
		defer db.Close()
		session, err := db.Conn(ctx)
		must(t, err)
		defer session.Close()
		must(t, insert(a, 1))
		if err := insert(b, 2); mysqlError(err) != "1290 HY000" {
			t.Errorf("write at a replica: %v", err)
		}
		must(t, a.HandOver(ctx, b))
		must(t, insert(b, 2))
		if _, err := session.ExecContext(ctx, "INSERT INTO t VALUES (3)"); mysqlError(err) != "1290 HY000" {
			t.Errorf("write in a session of before the change: %v", err)
		}
		must(t, b.HandOver(ctx, a))
		if _, err := session.ExecContext(ctx, "INSERT INTO t VALUES (3)"); err != nil {
			t.Error(err)
		}
		must(t, a.HandOver(ctx, b))
		rows(b, "1,2,3")
		// The writer crashes, and comes back as the other's replica.
		must(t, b.Kill())
		must(t, a.Promote(ctx))
		must(t, insert(a, 4))
		b = servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, Host: hostB, Port: a.Port, ReplicaOf: a})
		rows(b, "1,2,3,4")
		must(t, a.HandOver(ctx, b))
		must(t, insert(b, 5))
	})
}

func TestPostgresChangesRoles(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int) {
		ctx := t.Context()
		first := servers.RunPostgres(t, servers.PostgresOptions{Version: version, Host: hostA})
		must(t, first.CreateRole(ctx, "app", "secret"))
		must(t, first.Exec(ctx, "CREATE TABLE t (i INT); GRANT ALL ON t TO app"))
		writer := first
		standby := servers.RunPostgres(t, servers.PostgresOptions{Version: version, Host: hostB, Port: first.Port, StandbyOf: first})
		for i := range 3 {
			insert := fmt.Sprintf("INSERT INTO t VALUES (%d) RETURNING pg_is_in_recovery()::text", i)
			if _, err := ask(ctx, standby.URL("app", "secret", "postgres"), insert); sqlState(err) != "25006" {
				t.Errorf("write at a standby: %v", err)
			}
			_, err := ask(ctx, writer.URL("app", "secret", "postgres"), insert)
			must(t, err)
			host := writer.Host
			if i == 0 {
				writer.Stop()
			} else {
				must(t, writer.Kill())
			}
			must(t, standby.Promote(ctx))
			writer = standby
			standby = servers.RunPostgres(t, servers.PostgresOptions{Version: version, Host: host, Port: first.Port, StandbyOf: writer})
		}
	})
}
