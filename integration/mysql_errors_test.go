package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// refusals is a server that has something against some of its users, and a
// credproxy with a database for each of them.
type refusals struct {
	*watched
	my  *servers.MySQL
	aws *awsstub.Server
}

func newRefusals(t *testing.T, flavor string) *refusals {
	t.Helper()
	r := &refusals{my: newMySQL(t, servers.MySQLOptions{Flavor: flavor}), aws: startAWS(t, awsstub.Options{})}
	for user, grant := range map[string]string{"wide": "ALL ON *.*", "few": "USAGE ON *.*", "locked": "USAGE ON *.*", "wrong": "USAGE ON *.*"} {
		if err := r.my.CreateUser(t.Context(), user, appPassword, "", grant); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.my.Exec(t.Context(), "CREATE DATABASE closed; ALTER USER few WITH MAX_USER_CONNECTIONS 1; ALTER USER locked ACCOUNT LOCK; ALTER USER wrong IDENTIFIED BY 'planted-another'"); err != nil {
		t.Fatal(err)
	}
	config := "databases:\n"
	for _, user := range []string{"app", "wide", "few", "locked", "wrong"} {
		arn := r.aws.CreateSecret(user, mySQLSecret(r.my, user, appPassword))
		config += mySQLEntry(user, arn, "tls: "+tlsYAML("", r.my.CAFile))
	}
	r.watched = watch(t, sidecar.Options{Env: r.aws.Env(), Config: config}, appPassword, "planted-another")
	for _, user := range []string{"app", "wide", "few", "locked", "wrong"} {
		r.Addr(t, user) // its secret has been fetched
	}
	return r
}

// direct logs in as user without credproxy.
func (r *refusals) direct(t *testing.T, user, database string) error {
	return logInMySQL(t.Context(), r.my.Config(user, appPassword, database))
}

// told logs in both ways and returns what clients are told, which is the same. A
// server may need a moment to be rid of the login before.
func (r *refusals) told(t *testing.T, user, database string) (e *mysql.MySQLError) {
	t.Helper()
	var direct, through error
	same := func() bool {
		direct, through = r.direct(t, user, database), r.mySQL(t, user, database)
		return errors.As(direct, &e) && through != nil && direct.Error() == through.Error()
	}
	if !eventually(3*time.Second, same) {
		t.Fatalf("direct: %v\nthrough credproxy: %v", direct, through)
	}
	return e
}

// TestMySQLServerErrors shows that what the server says reaches the client as a
// direct login hears it, number, SQLSTATE and text, and that the listener works
// when the cause is gone. Only 1045 is taken for the credential's fault.
func TestMySQLServerErrors(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		r := newRefusals(t, flavor)
		locked := map[string]string{"mysql": "3118 HY000", "mariadb": "4151 HY000"}[flavor]
		for _, tt := range []struct {
			user, database, code, text string
			repair                     func() error
		}{
			{"app", "closed", "1044 42000", "to database 'closed'", r.exec("GRANT ALL ON closed.* TO app")},
			{"wide", "missing", "1049 42000", "Unknown database 'missing'", r.exec("CREATE DATABASE missing")},
			{"locked", "", locked, "locked", r.exec("ALTER USER locked ACCOUNT UNLOCK")},
			{"wrong", "", "1045 28000", "Access denied for user 'wrong'@'127.0.0.1' (using password: YES)", func() error {
				r.aws.PutSecret("wrong", mySQLSecret(r.my, "wrong", "planted-another"))
				return nil
			}},
		} {
			t.Run(tt.code, func(t *testing.T) {
				r.refuses(t, tt.user, tt.database, tt.code, tt.text)
				if err := tt.repair(); err != nil {
					t.Fatal(err)
				}
				r.mySQLRecovers(t, tt.user, tt.database)
			})
		}
		t.Run("1226", func(t *testing.T) {
			conn := openMySQL(t, r.my.Config("few", appPassword, ""))
			r.refuses(t, "few", "", "1226 42000", "max_user_connections")
			_ = conn.Close()
		})
		t.Run("1040", func(t *testing.T) { r.full(t) })
		t.Run("1130", func(t *testing.T) { r.noHost(t) })
	})
}

func (r *refusals) exec(sql string) func() error {
	return func() error { return r.my.Exec(context.Background(), sql) }
}

// refuses checks one refusal and what credproxy made of it.
func (r *refusals) refuses(t *testing.T, user, database, code, text string) {
	t.Helper()
	e := r.told(t, user, database)
	if mySQLCode(e) != code || !strings.Contains(e.Message, text) {
		t.Errorf("client is told %v, want %s: %s", e, code, text)
	}
	number, _, _ := strings.Cut(code, " ")
	result, blamed := "upstream_refused", number == "1045"
	if blamed {
		result = "credential_rejected"
	}
	r.failure(t, user, fmt.Sprintf(`"result":%q`, result), "ERROR "+number)
	for name, label := range map[string]string{
		"credproxy_login_attempts_total":     `result="rejected"`,
		"credproxy_credential_refresh_total": `reason="rejected"`, // it asked for another one
	} {
		if n, err := r.Metric(name, fmt.Sprintf(`database=%q`, user), label); err != nil || (n > 0) != blamed {
			t.Errorf("%s with %s is %v, %v", name, label, n, err)
		}
	}
}

// full takes all connections: the server says so in place of its greeting.
func (r *refusals) full(t *testing.T) {
	root, err := r.my.Superuser()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	set := func(n int) {
		if _, err := root.ExecContext(t.Context(), fmt.Sprintf("SET GLOBAL max_connections = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	set(10)
	for range 12 { // there is one more for a superuser, and one may be late to leave
		defer dial(t, r.my.Addr()).Close()
	}
	r.refuses(t, "app", "", "1040", "Too many connections")
	set(100)
	r.mySQLRecovers(t, "app", "")
}

// noHost leaves no user who may come from this host: so says the server in place
// of its greeting.
func (r *refusals) noHost(t *testing.T) {
	if err := r.my.Exec(t.Context(), "DROP USER wide, few, locked, wrong; RENAME USER app TO app@'10.0.0.1'; FLUSH PRIVILEGES"); err != nil {
		t.Fatal(err)
	}
	r.refuses(t, "app", "", "1130", "Host '127.0.0.1' is not allowed to connect to this M")
	if err := r.my.Exec(t.Context(), "RENAME USER app@'10.0.0.1' TO app; FLUSH PRIVILEGES"); err != nil {
		t.Fatal(err)
	}
	r.mySQLRecovers(t, "app", "")
}

// TestMySQLOwnErrors shows credproxy's own errors. As a server's, those before the
// greeting is answered have no SQLSTATE; who finds the database away is greeted first.
func TestMySQLOwnErrors(t *testing.T) {
	my := newMySQL(t, servers.MySQLOptions{Flavor: "mariadb"})
	good := mySQLSecret(my, "app", appPassword)
	var allowed atomic.Bool
	aws := startAWS(t, awsstub.Options{Identities: []awsstub.Identity{{
		AccessKeyID: "AKIAPLANTEDSTATIC", SecretAccessKey: secretAccessKey,
		Allow: func(_, resource string) bool { return allowed.Load() || !strings.Contains(resource, "denied") },
	}}})
	silent, postgres := listenLocal(t), listenLocal(t)
	go answer(postgres, "SFATAL: not what you think")
	tls, engine := "tls: "+tlsYAML("", my.CAFile), "engine: mariadb"
	at := func(name, host string, port int) string {
		return mySQLEntry(name, aws.CreateSecret(name, good), tls, "host: "+host, fmt.Sprintf("port: %d", port), "limits: {dial_timeout: 700ms, login_timeout: 2s}")
	}
	secret := func(name, value string) string {
		id := name
		if value != "" {
			id = aws.CreateSecret(name, value)
		}
		return mySQLEntry(name, id, tls, engine)
	}
	arn := aws.CreateSecret("good", good)
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
		at("closed", "127.0.0.1", freePort(t)) + at("silent", "127.0.0.1", port(silent)) + at("nowhere", "db.invalid", 3306) +
		at("postgres", "127.0.0.1", port(postgres)) +
		secret("missing", "") + secret("denied", good) + secret("text", appPassword) + secret("nopassword", strings.Replace(good, `"password"`, `"not_password"`, 1)) +
		secret("nohost", strings.Replace(good, `"host"`, `"not_host"`, 1)) +
		mySQLEntry("one", arn, tls, "limits: {max_connections: 1}") + mySQLEntry("restricted", arn, tls, "access: {databases: [app]}"),
	}, appPassword, secretAccessKey)
	openMySQL(t, noPassword(w.Addr(t, "one"), ""))
	t.Run("told", func(t *testing.T) {
		for _, tt := range []struct {
			name, code, message string
			logged              []string
		}{
			{"closed", "2003 08S01", "refuses connections", []string{`"result":"unreachable"`, "connection refused"}},
			{"silent", "2003 08S01", "the login took too long", []string{`"result":"login_timeout"`, "waiting for the greeting"}},
			{"nowhere", "2003 08S01", `host "db.invalid"`, []string{`"result":"unreachable"`, "lookup db.invalid"}},
			{"postgres", "2003 08S01", "the connection to the database broke during login", []string{`"result":"upstream_protocol"`, "greeting"}},
			{"missing", "2003 08S01", "does not exist", []string{`"result":"secret"`, "ResourceNotFoundException"}},
			{"denied", "2003 08S01", "may not read the secret", []string{`"result":"secret"`, "secretsmanager:GetSecretValue"}},
			{"text", "2003 08S01", "does not hold a database credential", []string{`"result":"secret"`, "not valid JSON"}},
			{"nopassword", "2003 08S01", "does not hold a database credential", []string{`"result":"secret"`, "password is missing"}},
			{"nohost", "2003 08S01", "names the database's host", []string{`"result":"secret"`}},
			{"one", "1040", "too many connections", []string{`"result":"too_many"`, "max_connections"}},
			{"restricted", "1045 28000", `database "mysql" may not be used`, []string{`"result":"not_allowed"`, "access.databases"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				mySQLOurs(t, w.mySQLRefused(t, tt.name, map[string]string{"restricted": "mysql"}[tt.name]), tt.code, tt.message)
				w.failure(t, tt.name, tt.logged...)
			})
		}
	})
	t.Run("repaired", func(t *testing.T) {
		allowed.Store(true)
		aws.CreateSecret("missing", good)
		aws.PutSecret("text", good)
		for _, name := range []string{"denied", "missing", "text"} {
			w.mySQLRecovers(t, name, "")
		}
	})
}

// answer says text to whoever connects, until ln is closed.
func answer(ln net.Listener, text string) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.Close()
	}
}

// TestMySQLShutdown logs in again and again while credproxy shuts down. Clients
// hear that it does, and mysqladmin exits as where nobody is; a session under way goes on.
func TestMySQLShutdown(t *testing.T) {
	s := newMySQLStand(t, servers.MySQLOptions{Flavor: "mariadb"}, "")
	db := s.open(t, s.config())
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var last [4]error
	for i := range last {
		all.Go(func() {
			for last[i] == nil {
				last[i] = logInMySQL(t.Context(), noPassword(s.addr, ""))
			}
		})
	}
	s.proxy.Signal(syscall.SIGTERM)
	all.Wait()
	for _, err := range last {
		var e *mysql.MySQLError
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		mySQLOurs(t, e, "2003 08S01", "credproxy is shutting down")
	}
	if status, said := mysqladmin(t, s.my, s.addr, "--user=anybody", "ping"); status != 1 || !strings.Contains(said, "credproxy is shutting down") {
		t.Errorf("mysqladmin exits with %d: %s", status, said)
	}
	if got := text(t, db, "SELECT 'still here'"); got != "still here" {
		t.Errorf("the session answers %s", got)
	}
	_ = db.Close()
	if code := s.proxy.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}
