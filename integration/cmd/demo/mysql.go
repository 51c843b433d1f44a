package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/rotator"
	"github.com/credproxy/credproxy/integration/servers"
)

// mySQL implements server, for MySQL and MariaDB.
type mySQL struct {
	rotator.MySQL
	database string
}

func startMySQL(flavor string) func(ctx context.Context, name, password string) (server, error) {
	return func(ctx context.Context, name, password string) (server, error) {
		my, err := servers.StartMySQL(ctx, servers.MySQLOptions{Flavor: flavor})
		if err != nil {
			return nil, err
		}
		m := &mySQL{rotator.MySQL{MySQL: my}, name}
		if err := m.fill(ctx, password); err != nil {
			my.Stop()
			return nil, err
		}
		return m, nil
	}
}

// fill makes database, table and users.
func (m *mySQL) fill(ctx context.Context, password string) error {
	if err := m.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s; CREATE TABLE %[1]s.visit (who varchar(32))", m.database)); err != nil {
		return err
	}
	for _, user := range users {
		if err := m.CreateUser(ctx, user, password, "", "INSERT ON "+m.database+".visit"); err != nil {
			return err
		}
	}
	return nil
}

// Product has the version's first two numbers.
func (m *mySQL) Product() string {
	name := map[string]string{"mysql": "MySQL", "mariadb": "MariaDB"}[m.Flavor]
	numbers := strings.SplitN(m.Version, ".", 3)
	return name + " " + strings.Join(numbers[:min(2, len(numbers))], ".")
}

func (m *mySQL) Secret(user, password string) string {
	return fmt.Sprintf(`{"engine":%q,"host":"localhost","port":%d,"username":%q,"password":%q,"dbname":%q}`,
		m.Flavor, m.Port, user, password, m.database)
}

func (m *mySQL) CAFile() string { return m.MySQL.CAFile }

func (m *mySQL) Rows(ctx context.Context) (map[string]int64, error) {
	root, err := m.Superuser()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	rows, err := root.QueryContext(ctx, "SELECT who, count(*) FROM "+m.database+".visit GROUP BY who")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	written := map[string]int64{}
	for rows.Next() {
		var who string
		var n int64
		if err := rows.Scan(&who, &n); err != nil {
			return nil, err
		}
		written[who] = n
	}
	return written, rows.Err()
}

// Login implements rotator.Database, with the server's own words for an error.
func (m *mySQL) Login(ctx context.Context, user, password string) error {
	err := m.MySQL.Login(ctx, user, password)
	if said, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return said
	}
	return err
}

func (m *mySQL) Hello(ctx context.Context, addr string) (command, output string, err error) {
	const sql = "SELECT CURRENT_USER() AS user; SHOW STATUS LIKE 'Ssl_version'"
	path, err := m.Program(m.Flavor) // the client is called as the product is
	if err != nil {
		return "", "", err
	}
	host, port, _ := net.SplitHostPort(addr)
	out, err := program(ctx, path, "--no-defaults", "--table", "--host="+host, "--port="+port, "--user=me", "--execute="+sql, m.database).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", m.Flavor, err, out)
	}
	return fmt.Sprintf("%s -t -h %s -P %s -u me %s \\\n      -e %q", m.Flavor, host, port, m.database, sql), string(out), err
}
