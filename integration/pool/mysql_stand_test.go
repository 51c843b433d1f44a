package pool_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// myStand is a server of MySQL or MariaDB with a user app, its secret, and a credproxy with a
// pool.
type myStand struct {
	stand
	my *servers.MySQL
}

// mySQLStand starts all three, with more YAML of the database: its pool, at least.
func mySQLStand(t *testing.T, my *servers.MySQL, more ...string) *myStand {
	t.Helper()
	aws, err := awsstub.Start(awsstub.Options{})
	must(t, err)
	t.Cleanup(aws.Close)
	aws.CreateQueue(queueName)
	aws.CreateSecret(secretName, mySQLSecret(my, "app", appPassword))
	config := fmt.Sprintf("databases:\n  - name: main\n    engine: %s\n    listen: 127.0.0.1:0\n    credentials: {secrets_manager: {secret_id: %s}}\n    tls: {ca_file: %q}\n", my.Flavor, secretName, my.CAFile)
	for _, line := range more {
		config += "    " + line + "\n"
	}
	p := sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: aws.Env(), Debug: true}, appPassword)
	return &myStand{stand: stand{aws: aws, proxy: p, addr: p.Addr(t, "main")}, my: my}
}

// runMySQL starts a server with the user app, who may do all.
func runMySQL(t *testing.T, flavor string) *servers.MySQL {
	t.Helper()
	my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})
	must(t, my.CreateUser(t.Context(), "app", appPassword, "", "ALL ON *.*"))
	return my
}

func mySQLSecret(my *servers.MySQL, user, password string) string {
	text, _ := json.Marshal(map[string]any{"engine": my.Flavor, "host": "localhost", "port": my.Port, "username": user, "password": password, "dbname": "app"})
	return string(text)
}

// eachFlavor runs a test against MySQL and MariaDB.
func eachFlavor(t *testing.T, f func(t *testing.T, flavor string)) {
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) { f(t, flavor) })
	}
}

// myClient is one connection to MySQL.
type myClient struct {
	*sql.Conn
	db *sql.DB
}

// open logs in, with what configure changes; the test closes the connection.
func (s *myStand) open(t testing.TB, configure func(*mysql.Config)) myClient {
	t.Helper()
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.MultiStatements = "anybody", "tcp", s.addr, true
	if configure != nil {
		configure(c)
	}
	return connectMySQL(t, c)
}

func connectMySQL(t testing.TB, c *mysql.Config) myClient {
	t.Helper()
	connector, err := mysql.NewConnector(c)
	must(t, err)
	db := sql.OpenDB(connector)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := db.Conn(ctx)
	must(t, err)
	return myClient{conn, db}
}

func (c myClient) close(t testing.TB) {
	t.Helper()
	_ = c.Conn.Close()
	must(t, c.db.Close())
}

// ask runs a query with one row of one column.
func (c myClient) ask(t testing.TB, query string) string {
	t.Helper()
	var s sql.NullString
	if err := c.QueryRowContext(t.Context(), query).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	if !s.Valid {
		return "NULL"
	}
	return s.String
}

// leave closes a client's connection and waits until its session is back in the pool, or
// closed.
func (s *myStand) leave(t testing.TB, c myClient) {
	t.Helper()
	c.close(t)
	sidecar.Await(t, "end of the session's use", func() bool { return s.metric(t, "in_use") == 0 })
}
