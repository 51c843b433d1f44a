package integration_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestMySQLCompression has PHP compress, which it does whether or not the greeting offers
// it. (The test of capabilities has a client of our own do so.)
func TestMySQLCompression(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		s := newMySQLStand(t, servers.MySQLOptions{Flavor: flavor}, "")
		php := clientProgram{name: "PHP", argv: []string{"php", "compress.php"}}
		php.run(t, s.addr, map[string]any{"bytes": 420000.0, "short": 1.0, "rows": 5000.0, "pdo": 420000.0, "sent": 420000.0})
	})
}

// TestMySQLBecomesMariaDB has the secret move from one product to the other while the
// first is down. A client that was greeted from memory, as the first, is told to connect
// again; then it is greeted as the second.
func TestMySQLBecomesMariaDB(t *testing.T) {
	ca := newCA(t)
	first, second := newMySQL(t, servers.MySQLOptions{Flavor: "mysql", CA: ca}), newMySQL(t, servers.MySQLOptions{Flavor: "mariadb", CA: ca})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", mySQLSecret(first, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + mySQLEntry("main", arn, "engine: mysql", "tls: "+tlsYAML("", first.CAFile))}, appPassword)
	proved(t, w.Proxy, "main")
	if err := w.mySQL(t, "main", "app"); err != nil {
		t.Fatal(err)
	}
	first.Stop()
	aws.PutSecret("prod/main", mySQLSecret(second, "app", appPassword))
	said := map[string]int{}
	sidecar.Await(t, "a login at the second server", func() bool {
		err := w.mySQL(t, "main", "app")
		var e *mysql.MySQLError
		switch {
		case err == nil:
			return true
		case !errors.As(err, &e):
			t.Fatal(err)
		case strings.Contains(e.Message, "not the one that this client was greeted for"):
			mySQLOurs(t, e, "2003 08S01", "it is MariaDB 10.11")
			said["again"]++
		}
		return false
	})
	conn := openMySQL(t, noPassword(w.Addr(t, "main"), "app"))
	if got := text(t, conn, "SELECT VERSION()"); !strings.Contains(got, "MariaDB") {
		t.Errorf("the session is on %s", got)
	}
	if said["again"] > 1 {
		t.Errorf("%d clients were told to connect again, want 1 at most", said["again"])
	}
}

// TestMySQLChangeUserKeepsCollation changes the user with a collation whose number has two
// bytes, on the connection that is there and on a new one, which the rotation makes needed.
func TestMySQLChangeUserKeepsCollation(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		s := newMySQLStand(t, servers.MySQLOptions{Flavor: flavor}, "")
		collation := map[string]string{"mysql": "utf8mb4_ja_0900_as_cs", "mariadb": "utf8mb4_uca1400_as_cs"}[flavor]
		number := mySQLNumber(t, s.my, map[string]string{
			"mysql":   "SELECT id FROM information_schema.collations WHERE collation_name = ?",
			"mariadb": "SELECT id FROM information_schema.collation_character_set_applicability WHERE full_collation_name = ?",
		}[flavor], collation)
		if number < 256 {
			t.Fatalf("%s is collation %d", collation, number)
		}
		c := rawLogin(t, s.addr, mysqlHello{caps: usualCaps | capConnectWithDB, charset: 45, user: "anybody", database: "app", plugin: "caching_sha2_password"})
		change := func() string {
			t.Helper()
			b := append([]byte("somebody"), 0, 0)
			b = append(append(b, "app"...), 0, byte(number), byte(number>>8))
			b = c.hello.appendAttrs(append(append(b, c.hello.plugin...), 0))
			if p := c.loggedIn(c.command(comChangeUser, b)); p[0] != 0 {
				t.Fatal(mysqlError(p))
			}
			return c.value("SELECT @@collation_connection")
		}
		id := c.value("SELECT CONNECTION_ID()")
		want := change()
		if c.value("SELECT CONNECTION_ID()") != id {
			t.Error("the first change has made a connection")
		}
		if err := s.my.SetPassword(t.Context(), "app", "another"); err != nil {
			t.Fatal(err)
		}
		s.aws.PutSecret("prod/main", mySQLSecret(s.my, "app", "another"))
		if got := change(); got != want || got != collation {
			t.Errorf("collation %s on a new connection, %s on the old one, want %s", got, want, collation)
		}
		if c.value("SELECT CONNECTION_ID()") == id {
			t.Error("the second change has made no connection")
		}
	})
}

// TestMySQLDefaultDatabase: a client that names no database is not told of one that is
// missing. It can make it, and the next client begins in it.
func TestMySQLDefaultDatabase(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		my := newMySQL(t, servers.MySQLOptions{Flavor: flavor})
		if err := my.Exec(t.Context(), "GRANT ALL ON *.* TO app"); err != nil {
			t.Fatal(err)
		}
		aws := startAWS(t, awsstub.Options{})
		arn := aws.CreateSecret("prod/main", strings.Replace(mySQLSecret(my, "app", appPassword), `"dbname":"app"`, `"dbname":"shop"`, 1))
		link := "tls: " + tlsYAML("", my.CAFile)
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + mySQLEntry("main", arn, link) +
			mySQLEntry("none", arn, link, "database: none") + mySQLEntry("restricted", arn, link, "access: {databases: [shop]}")}, appPassword)
		current := func(name string) string {
			t.Helper()
			conn := openMySQL(t, noPassword(w.Addr(t, name), ""))
			defer conn.Close()
			return text(t, conn, "SELECT DATABASE()")
		}
		if got := current("main"); got != "" {
			t.Errorf("the session begins in %s", got)
		}
		if e := w.mySQLRefused(t, "restricted", ""); mySQLCode(e) != "1049 42000" {
			t.Errorf("where databases are restricted: %v", e)
		}
		if e := w.mySQLRefused(t, "main", "shop"); mySQLCode(e) != "1049 42000" {
			t.Errorf("who names it is told %v", e)
		}
		c := rawLogin(t, w.Addr(t, "main"), mysqlHello{caps: usualCaps, charset: 45, user: "anybody", plugin: "caching_sha2_password"})
		if got := mysqlError(c.query("SHOW TABLES")); !strings.Contains(got, "1046") {
			t.Errorf("SHOW TABLES: %s", got)
		}
		c.exec("CREATE DATABASE shop")
		if got := current("main"); got != "shop" {
			t.Errorf("the next session begins in %q", got)
		}
		if got := current("none"); got != "" {
			t.Errorf("with database: none the session begins in %s", got)
		}
		named := rawLogin(t, w.Addr(t, "main"), mysqlHello{caps: usualCaps, charset: 45, user: "anybody", plugin: "caching_sha2_password"})
		named.exec("DROP DATABASE shop")
		if p := named.changeUser("somebody", ""); p[0] != 0 || named.value("SELECT DATABASE()") != null {
			t.Errorf("a change of user when the default database has gone: %q", p)
		}
	})
}

// TestPostgresNoDefaultDatabase: with database: none a client gets what it asks for, and
// libpq asks for a database of the user's name.
func TestPostgresNoDefaultDatabase(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 18})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("main", arn, "tls: "+tlsYAML("", pg.CAFile)) +
		smDatabase("none", arn, "tls: "+tlsYAML("", pg.CAFile), "database: none")}, appPassword)
	proved(t, w.Proxy, "main", "none")
	for name, want := range map[string]string{"main": "postgres", "none": "template1"} {
		conn := pgConnect(t, fmt.Sprintf("postgres://template1@%s/?sslmode=disable", w.Addr(t, name)))
		if got := ask(t, conn, "SELECT current_database()"); got != want {
			t.Errorf("%s: the session is in %s, want %s", name, got, want)
		}
	}
}

// TestMySQLDemandForTLS has a client demand TLS that is not offered, which it does without a
// word to the server. The log says what may be amiss, once; a check of the port is not told
// of.
func TestMySQLDemandForTLS(t *testing.T) {
	s := newMySQLStand(t, servers.MySQLOptions{Flavor: "mysql"}, "")
	host, port, _ := strings.Cut(s.addr, ":")
	const line = "a client that demands TLS"
	for range 2 {
		cmd := exec.CommandContext(t.Context(), servers.MySQLProgram(t, "mysql", "mysql"), "--no-defaults", "--host="+host, "--port="+port,
			"--user=anybody", "--ssl-mode=REQUIRED", "--execute=SELECT 1")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "2026") {
			t.Errorf("the client says %s, %v", out, err)
		}
	}
	s.proxy.AwaitLog(t, line)
	if err := logInMySQL(t.Context(), noPassword(s.addr, "")); err != nil {
		t.Error(err)
	}
	if n := strings.Count(s.proxy.Log(), line); n != 1 {
		t.Errorf("%d lines", n)
	}
}
