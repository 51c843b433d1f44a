package integration_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// fidelity is a stand whose user may do what the clients here need.
type fidelity struct{ *mySQLStand }

// TestMySQLFidelity runs what clients do through credproxy, and compares with a
// direct connection where the answer is not plain.
func TestMySQLFidelity(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := fidelity{newMySQLStand(t, servers.MySQLOptions{Flavor: flavor, Binlog: true, Settings: map[string]string{
			"performance_schema": "ON", "local_infile": "ON", "max_allowed_packet": "64M", "log_bin_trust_function_creators": "ON",
		}}, "")}
		const sql = `CREATE DATABASE copy; GRANT ALL ON copy.* TO app; GRANT SELECT ON performance_schema.* TO app;
			GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO app; CREATE TABLE app.loaded (line BLOB)`
		if err := s.my.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		t.Run("types", s.types)
		t.Run("results", s.results)
		t.Run("procedures", s.procedures)
		t.Run("transactions", s.transactions)
		t.Run("flags", s.flags)
		t.Run("attributes", s.attributes)
		t.Run("kill query", s.killQuery)
		t.Run("dump", s.dump)
		t.Run("binlog", s.binlog)
		t.Run("large packets", s.largePackets)
		t.Run("local infile", s.localInfile)
		t.Run("clients", s.clients)
	})
}

// both runs f through credproxy and directly; what it returns must be the same.
func (s fidelity) both(t *testing.T, configure func(c *mysql.Config), f func(conn *sql.Conn) string) string {
	t.Helper()
	var got [2]string
	for i, c := range []*mysql.Config{s.config(), s.my.Config("app", appPassword, "app")} {
		c.MaxAllowedPacket = 64 * megabyte
		if configure != nil {
			configure(c)
		}
		conn := s.conn(t, c)
		got[i] = f(conn)
		_ = conn.Close()
	}
	if got[0] != got[1] {
		t.Errorf("through credproxy\n%.2000s\nbut directly\n%.2000s", got[0], got[1])
	}
	return got[0]
}

// show runs a query and writes down all of all its results, and the error that
// ends them.
func show(t *testing.T, conn *sql.Conn, query string, args ...any) string {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), query, args...)
	if err != nil {
		return err.Error()
	}
	defer rows.Close()
	var b strings.Builder
	for {
		types, err := rows.ColumnTypes()
		if err != nil {
			t.Fatal(err)
		}
		values := make([]any, len(types))
		for i, c := range types {
			fmt.Fprintf(&b, "%s %s|", c.Name(), c.DatabaseTypeName())
			values[i] = new(sql.NullString)
		}
		for rows.Next() {
			b.WriteByte('\n')
			if err := rows.Scan(values...); err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				if s := v.(*sql.NullString); s.Valid {
					fmt.Fprintf(&b, "%q|", s.String)
				} else {
					b.WriteString(null + "|")
				}
			}
		}
		if b.WriteByte('\n'); !rows.NextResultSet() {
			break
		}
	}
	fmt.Fprint(&b, rows.Err())
	return b.String()
}

// types: values of each type, by the text and the binary protocol.
func (s fidelity) types(t *testing.T) {
	const table = `CREATE TEMPORARY TABLE types (i BIGINT, u BIGINT UNSIGNED, d DECIMAL(30, 10), f DOUBLE, s VARCHAR(50) CHARACTER SET utf8mb4,
		l VARCHAR(50) CHARACTER SET latin1, b BLOB, dt DATETIME(6), da DATE, ti TIME(3), y YEAR, e ENUM('a', 'ž'), bi BIT(12), j JSON, g POINT)`
	bytes := make([]byte, 256)
	for i := range bytes {
		bytes[i] = byte(i)
	}
	for _, interpolate := range []bool{false, true} {
		got := s.both(t, func(c *mysql.Config) { c.InterpolateParams = interpolate }, func(conn *sql.Conn) string {
			show(t, conn, table)
			said := show(t, conn, "INSERT INTO types VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, POINT(?, ?))", int64(-1<<63), uint64(1<<64-1),
				"-12345678901234567890.0123456789", 1.5e-300, "☃ 😀 'quoted' \\ ", "ž€é", bytes, "2024-02-29 23:59:59.123456", "1000-01-01",
				"-838:59:59.000", 2155, "ž", 0xabc, `{"k": [1, null, "ž"]}`, 1.25, -2)
			said += show(t, conn, "INSERT INTO types (s) VALUES (?)", nil)
			return said + show(t, conn, "SELECT * FROM types WHERE i < ? OR i IS NULL", 0)
		})
		if !strings.Contains(got, "☃ 😀 'quoted'") || !strings.Contains(got, "18446744073709551615") || !strings.Contains(got, "\nNULL|") {
			t.Errorf("got\n%s", got)
		}
	}
}

// results: one after another, with an error at their end.
func (s fidelity) results(t *testing.T) {
	got := s.both(t, func(c *mysql.Config) { c.MultiStatements = true }, func(conn *sql.Conn) string {
		said := show(t, conn, "SELECT 1 AS a; SELECT 2 AS b, 'x' AS c UNION SELECT 3, NULL; DO 0; SELECT 'last' AS d")
		return said + show(t, conn, "SELECT 4 AS e; SELECT * FROM absent; SELECT 'never'") + show(t, conn, "SELECT 'goes on'")
	})
	for _, part := range []string{`"1"|`, `"3"|NULL|`, `"last"|`, "Error 1146 (42S02)", `"goes on"`} {
		if !strings.Contains(got, part) {
			t.Errorf("no %s in\n%s", part, got)
		}
	}
	if strings.Contains(got, "never") {
		t.Errorf("a statement after the error ran:\n%s", got)
	}
}

// procedures have results, and parameters that come back.
func (s fidelity) procedures(t *testing.T) {
	const procedure = "CREATE PROCEDURE twice(IN a INT, OUT b INT, INOUT c VARCHAR(20) CHARACTER SET utf8mb4) BEGIN SELECT a AS first; SET b = 2 * a, c = CONCAT(c, ' ☃'); SELECT 'second' AS s; END"
	show(t, s.conn(t, s.config()), procedure)
	got := s.both(t, nil, func(conn *sql.Conn) string {
		said := show(t, conn, "SET @c = 'snow'") + show(t, conn, "CALL twice(?, @b, @c)", 21) // binary
		said += show(t, conn, "SELECT @b, @c") + show(t, conn, "CALL twice(5, @b, @c)")       // text
		said += show(t, conn, "SELECT @b, @c") + show(t, conn, "CALL twice(?, ?, ?)", 4, 0, "out by protocol")
		return said
	})
	for _, part := range []string{`"21"|`, `"second"|`, `"42"|"snow ☃"|`, `"10"|"snow ☃ ☃"|`} {
		if !strings.Contains(got, part) {
			t.Errorf("no %s in\n%s", part, got)
		}
	}
}

// transactions, and errors inside them that do not end them.
func (s fidelity) transactions(t *testing.T) {
	s.both(t, nil, func(conn *sql.Conn) string {
		said := show(t, conn, "CREATE TEMPORARY TABLE tx (n INT PRIMARY KEY)")
		for _, end := range []func(tx *sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
			tx, err := conn.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err = tx.ExecContext(t.Context(), "INSERT INTO tx VALUES (?)", 1)
				said += fmt.Sprintln(err)
			}
			said += fmt.Sprintln(end(tx)) + show(t, conn, "SELECT * FROM tx")
		}
		if strings.Count(said, "1062 (23000)") != 2 || !strings.HasSuffix(said, "n INT|\n\"1\"|\n<nil>") {
			t.Errorf("transactions said\n%s", said)
		}
		return said
	})
}

// flags: with found rows the server counts those it need not change.
func (s fidelity) flags(t *testing.T) {
	for _, foundRows := range []bool{false, true} {
		s.both(t, func(c *mysql.Config) { c.ClientFoundRows = foundRows }, func(conn *sql.Conn) string {
			show(t, conn, "CREATE TEMPORARY TABLE same AS SELECT 1 AS n")
			result, err := conn.ExecContext(t.Context(), "UPDATE same SET n = 1")
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := result.RowsAffected(); (n == 1) != foundRows {
				t.Errorf("%d rows affected, found rows %v", n, foundRows)
			}
			return ""
		})
	}
}

// attributes of the connection are the client's own.
func (s fidelity) attributes(t *testing.T) {
	long := strings.Repeat("long", 50)
	got := s.both(t, func(c *mysql.Config) { c.ConnectionAttributes = "program_name:fidelity,ž:" + long }, func(conn *sql.Conn) string {
		return show(t, conn, `SELECT ATTR_NAME, ATTR_VALUE FROM performance_schema.session_connect_attrs
			WHERE PROCESSLIST_ID = CONNECTION_ID() ORDER BY ORDINAL_POSITION`)
	})
	for _, part := range []string{`"program_name"|"fidelity"|`, `"ž"|"` + long, `"_client_name"|"Go-MySQL-Driver"`} {
		if !strings.Contains(got, part) {
			t.Errorf("no %s in\n%s", part, got)
		}
	}
}

// killQuery: the id that a client was told names its query for another one.
func (s fidelity) killQuery(t *testing.T) {
	c := rawLogin(t, s.addr, mysqlHello{caps: usualCaps, user: "anybody", plugin: "caching_sha2_password"})
	if id := c.value("SELECT CONNECTION_ID()"); id != fmt.Sprint(c.greeting.id) && !pooled() {
		t.Errorf("connection %s, the client was told %d", id, c.greeting.id)
	}
	sleeper, killer := s.conn(t, s.config()), s.conn(t, s.config())
	id := text(t, sleeper, "SELECT CONNECTION_ID()")
	done := make(chan error, 1)
	go func() {
		var n int
		err := sleeper.QueryRowContext(context.WithoutCancel(t.Context()), "SELECT SLEEP(60) FROM information_schema.schemata").Scan(&n)
		if err == nil && n != 1 {
			err = fmt.Errorf("SLEEP returns %d", n)
		}
		done <- err
	}()
	sidecar.Await(t, "the query sleeps", func() bool {
		return text(t, killer, "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%' AND id = "+id) == "1"
	})
	if _, err := killer.ExecContext(t.Context(), "KILL QUERY "+id); err != nil {
		t.Fatal(err)
	}
	var interrupted *mysql.MySQLError
	if err := <-done; err != nil && (!errors.As(err, &interrupted) || interrupted.Number != 1317) {
		t.Errorf("the killed query: %v", err)
	}
	if again := text(t, sleeper, "SELECT CONNECTION_ID()"); again != id {
		t.Errorf("connection %s goes on as %s", id, again)
	}
}
