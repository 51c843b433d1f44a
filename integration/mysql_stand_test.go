package integration_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// mySQLSecret is a secret as RDS writes it, for a user on my.
func mySQLSecret(my *servers.MySQL, user, password string) string {
	b, _ := json.Marshal(map[string]any{ // of such values it cannot fail
		"engine": my.Flavor, "host": "localhost", "port": my.Port, "username": user, "password": password, "dbname": "app",
	})
	return string(b)
}

// mySQLDatabase is a configuration with a database "main" whose credential is the
// secret arn, listening on a free port, and more YAML lines of that database.
func mySQLDatabase(my *servers.MySQL, arn string, more ...string) string {
	yaml := fmt.Sprintf(`databases:
  - name: main
    engine: %s
    listen: 127.0.0.1:0
    credentials: {secrets_manager: {secret_id: %q}}
`, my.Flavor, arn)
	if my.CAFile != "" {
		yaml += fmt.Sprintf("    tls: {ca_file: %q}\n", my.CAFile)
	}
	for _, line := range withPool(more) {
		yaml += "    " + line + "\n"
	}
	return yaml
}

// mySQLLink is the tls section of a database whose server may ask for the password itself,
// also where the mode verifies nothing.
func mySQLLink(mode, caFile string) string {
	yaml := tlsYAML(mode, caFile)
	if mode == "require" || mode == "disable" {
		yaml = strings.TrimSuffix(yaml, "}") + ", allow_unverified_password: true}"
	}
	return "tls: " + yaml
}

// mySQLStand is a server with a user app, the stand-in for AWS with its secret,
// and a credproxy in front.
type mySQLStand struct {
	my    *servers.MySQL
	aws   *awsstub.Server
	arn   string
	proxy *sidecar.Proxy
	addr  string
}

// newMySQLStand starts one. plugin is how app logs in, "" for the server's own.
func newMySQLStand(t testing.TB, o servers.MySQLOptions, plugin string, more ...string) *mySQLStand {
	t.Helper()
	s := &mySQLStand{my: servers.RunMySQL(t, o), aws: startAWS(t, awsstub.Options{})}
	if err := s.my.CreateUser(t.Context(), "app", appPassword, plugin); err != nil {
		t.Fatal(err)
	}
	s.arn = s.aws.CreateSecret("prod/main", mySQLSecret(s.my, "app", appPassword))
	s.proxy = sidecar.Run(t, sidecar.Options{Binary: binary, Config: mySQLDatabase(s.my, s.arn, more...), Env: s.aws.Env(), Debug: true}, appPassword)
	s.addr = s.proxy.Addr(t, "main")
	return s
}

// config is a login through credproxy, without a password.
func (s *mySQLStand) config() *mysql.Config {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr = "anybody", "tcp", s.addr
	return c
}

// open logs in through credproxy with go-sql-driver.
func (s *mySQLStand) open(t testing.TB, c *mysql.Config) *sql.DB {
	t.Helper()
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// conn is one connection of open.
func (s *mySQLStand) conn(t testing.TB, c *mysql.Config) *sql.Conn {
	t.Helper()
	conn, err := s.open(t, c).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// text runs a query with one row of one column.
func text(t testing.TB, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, query string, args ...any) string {
	t.Helper()
	var s sql.NullString
	if err := q.QueryRowContext(t.Context(), query, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s.String
}

// eachFlavor runs a test against MySQL and MariaDB.
func eachFlavor(t *testing.T, f func(t *testing.T, flavor string)) {
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) { f(t, flavor) })
	}
}
