package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/servers"
)

// mySQL implements server, for MySQL and MariaDB.
type mySQL struct {
	*servers.MySQL
	database string
}

func startMySQL(flavor string) func(ctx context.Context, name string, p passwords) (server, error) {
	return func(ctx context.Context, name string, p passwords) (server, error) {
		my, err := servers.StartMySQL(ctx, servers.MySQLOptions{Flavor: flavor})
		if err != nil {
			return nil, err
		}
		m := &mySQL{my, name}
		if err := m.fill(ctx, p); err != nil {
			my.Stop()
			return nil, err
		}
		return m, nil
	}
}

// fill makes database and table, the first user, and the master.
func (m *mySQL) fill(ctx context.Context, p passwords) error {
	if err := m.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s; CREATE TABLE %[1]s.visit (who varchar(32))", m.database)); err != nil {
		return err
	}
	rights := []string{"INSERT ON " + m.database + ".visit"}
	if m.Flavor == "mysql" {
		rights = append(rights, "APPLICATION_PASSWORD_ADMIN ON *.*") // to keep one's old password
	}
	if err := m.CreateUser(ctx, users[0], p.first, "", rights...); err != nil || p.master == "" {
		return err
	}
	if err := m.CreateUser(ctx, master, p.master, "", "CREATE USER ON *.*", "SELECT ON mysql.*"); err != nil {
		return err
	}
	// What the first user has, to give it to the second.
	return m.Exec(ctx, fmt.Sprintf("GRANT ALL ON app.* TO %s WITH GRANT OPTION; GRANT INSERT ON %s.visit TO %[1]s WITH GRANT OPTION", master, m.database))
}

// Product has the version's first two numbers.
func (m *mySQL) Product() string {
	name := map[string]string{"mysql": "MySQL", "mariadb": "MariaDB"}[m.Flavor]
	numbers := strings.SplitN(m.Version, ".", 3)
	return name + " " + strings.Join(numbers[:min(2, len(numbers))], ".")
}

func (m *mySQL) Secret(user, password, masterARN string) string {
	return document{m.Flavor, "localhost", m.Port, user, password, m.database, masterARN}.String()
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

func (m *mySQL) HasUser(ctx context.Context, user string) (has bool, err error) {
	root, err := m.Superuser()
	if err != nil {
		return false, err
	}
	defer root.Close()
	err = root.QueryRowContext(ctx, "SELECT count(*) > 0 FROM mysql.user WHERE User = '"+user+"'").Scan(&has)
	return has, err
}

func (m *mySQL) Login(ctx context.Context, user, password string) error {
	connector, err := mysql.NewConnector(m.Config(user, password, ""))
	if err != nil {
		return err
	}
	conn, err := connector.Connect(ctx)
	if said, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return said
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	return selectOne(ctx, conn)
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
