package integration_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
)

// newMySQL runs a server with the user app.
func newMySQL(t testing.TB, o servers.MySQLOptions) *servers.MySQL {
	t.Helper()
	my := servers.RunMySQL(t, o)
	if err := my.CreateUser(t.Context(), "app", appPassword, ""); err != nil {
		t.Fatal(err)
	}
	return my
}

// mySQLEntry is the YAML of one database whose credential is a secret that names
// engine, host and port.
func mySQLEntry(name, secretID string, more ...string) string {
	return database(name, fmt.Sprintf("secrets_manager: {secret_id: %q, region: eu-west-1}", secretID), more...)
}

// noPassword is a login at a listener of credproxy.
func noPassword(addr, database string) *mysql.Config {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.DBName = "anybody", "tcp", addr, database
	c.Logger = &mysql.NopLogger{} // the error says it all
	return c
}

// logInMySQL logs in once and leaves again.
func logInMySQL(ctx context.Context, c *mysql.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return err
	}
	return conn.Close()
}

// openMySQL logs in once; the connection ends with the test.
func openMySQL(t testing.TB, c *mysql.Config) *sql.Conn {
	t.Helper()
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// mySQLStatus is a status variable of the server, as a number.
func mySQLStatus(t testing.TB, my *servers.MySQL, name string) (n int) {
	t.Helper()
	return mySQLNumber(t, my, "SELECT variable_value FROM "+map[string]string{
		"mysql": "performance_schema.global_status", "mariadb": "information_schema.global_status",
	}[my.Flavor]+" WHERE variable_name = ?", name)
}

// mySQLNumber asks the server directly.
func mySQLNumber(t testing.TB, my *servers.MySQL, query string, args ...any) (n int) {
	t.Helper()
	root, err := my.Superuser()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// mySQL logs in through a listener and leaves again.
func (w *watched) mySQL(t testing.TB, name, database string) error {
	t.Helper()
	return w.heard(logInMySQL(t.Context(), noPassword(w.Addr(t, name), database)))
}

// heard remembers what a client was told.
func (w *watched) heard(err error) error {
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, err.Error())
	}
	return err
}

// mySQLRefused is the error that a login through the listener of a configured
// database ends with.
func (w *watched) mySQLRefused(t testing.TB, name, database string) *mysql.MySQLError {
	t.Helper()
	err := w.mySQL(t, name, database)
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		t.Fatalf("login at %s: %v, want an error of the protocol", name, err)
	}
	return e
}

// mySQLRecovers waits until logins through a listener work.
func (w *watched) mySQLRecovers(t testing.TB, name, database string) {
	t.Helper()
	var err error
	if !eventually(repairTime, func() bool { err = w.mySQL(t, name, database); return err == nil }) {
		t.Fatalf("login at %s still fails: %v", name, err)
	}
}

// mySQLOurs checks an error that credproxy itself made: number and SQLSTATE as
// "1105 08S01", the start of the message, a hint in it, and nothing that is only
// for the log. As from a server, an error before the client has told its flags
// has no SQLSTATE.
func mySQLOurs(t testing.TB, e *mysql.MySQLError, code, message string) {
	t.Helper()
	if mySQLCode(e) != code || !strings.HasPrefix(e.Message, "credproxy: ") || !strings.Contains(e.Message, message) {
		t.Errorf("client is told %s: %s\nwant %s: credproxy: ...%s", mySQLCode(e), e.Message, code, message)
	}
	if said, hint, ok := strings.Cut(e.Message, ". "); !ok || len(hint) < 10 {
		t.Errorf("no hint with %q", said)
	}
	for _, private := range []string{awsstub.AccountID, "arn:", "/tmp", "/var", "goroutine", ".go:"} {
		if strings.Contains(e.Message, private) {
			t.Errorf("client is told %q, which holds %q", e.Message, private)
		}
	}
}

// mySQLCode is number and SQLSTATE of a server's error, as "1045 28000".
func mySQLCode(err error) string {
	var e *mysql.MySQLError
	switch {
	case !errors.As(err, &e):
		return fmt.Sprint(err)
	case e.SQLState == [5]byte{}:
		return fmt.Sprint(e.Number)
	}
	return fmt.Sprintf("%d %s", e.Number, e.SQLState[:])
}
