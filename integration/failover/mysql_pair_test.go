package failover_test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/servers"
)

// mySQL is a source and a replica, of MySQL or MariaDB. Sessions at the old source stay
// when it is demoted.
type mySQL struct{ flavor string }

func (e mySQL) String() string { return e.flavor }

func (e mySQL) yaml() string { return "engine: " + e.flavor }

func (e mySQL) start(ctx context.Context, at place, of server) (server, error) {
	o := servers.MySQLOptions{Flavor: e.flavor, Host: at.host, Port: at.port, Certificate: at.cert, CA: at.ca, Binlog: true}
	if of != nil {
		o.ReplicaOf = of.(*servers.MySQL)
		return servers.StartMySQL(ctx, o)
	}
	my, err := servers.StartMySQL(ctx, o)
	if err != nil {
		return nil, err
	}
	err = errors.Join(my.CreateUser(ctx, appUser, appPassword, ""), my.CreateUser(ctx, directUser, directPassword, ""),
		my.Exec(ctx, "CREATE TABLE app.writes (client INT, number INT, host VARCHAR(20))"))
	if err != nil {
		my.Stop()
		return nil, err
	}
	return my, nil
}

func (mySQL) demote(ctx context.Context, old, next server) error {
	return old.(*servers.MySQL).Demote(ctx, next.(*servers.MySQL))
}

func (mySQL) follow(ctx context.Context, _ place, old, next server) (server, error) {
	return old, old.(*servers.MySQL).Follow(ctx, next.(*servers.MySQL))
}

func (mySQL) sessions(ctx context.Context, s server, user string) (n int, err error) {
	root, err := s.(*servers.MySQL).Superuser()
	if err != nil {
		return 0, err
	}
	defer root.Close()
	return n, root.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.processlist WHERE user = ?", user).Scan(&n)
}

func (e mySQL) secret(user, password, host string, port int) string {
	return fmt.Sprintf(`{"engine":%q,"host":%q,"port":%d,"username":%q,"password":%q,"dbname":"app"}`, e.flavor, host, port, user, password)
}

func (mySQL) connect(ctx context.Context, d door) (session, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = d.user, d.password, "app"
	c.Net, c.Addr = "tcp", net.JoinHostPort(d.host, d.port)
	c.Logger = &mysql.NopLogger{}
	if d.ca != nil {
		c.TLS = &tls.Config{RootCAs: d.ca.Pool(), ServerName: d.host}
	}
	c.DialFunc = d.dial
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return mySQLSession{db, conn}, nil
}

type mySQLSession struct {
	db   *sql.DB
	conn *sql.Conn
}

func (s mySQLSession) who(ctx context.Context) (host string, reader bool, err error) {
	return host, reader, s.conn.QueryRowContext(ctx, "SELECT @@bind_address, @@global.read_only").Scan(&host, &reader)
}

func (s mySQLSession) write(ctx context.Context, client, number int) error {
	_, err := s.conn.ExecContext(ctx, fmt.Sprintf("INSERT INTO writes VALUES (%d, %d, @@bind_address)", client, number))
	return err
}

func (s mySQLSession) close() {
	_ = s.conn.Close()
	_ = s.db.Close()
}

func mySQLReadOnly(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (e.Number == 1290 || e.Number == 1792 || e.Number == 1836)
}
