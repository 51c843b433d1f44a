package servers_test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
)

// askMySQL logs in and returns the one value of the answer.
func askMySQL(ctx context.Context, c *mysql.Config, query string) (string, error) {
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return "", err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var answer string
	return answer, db.QueryRowContext(ctx, query).Scan(&answer)
}

// mysqlError is the number and SQLSTATE of a server's error, e.g. "1045 28000".
func mysqlError(err error) string {
	var myErr *mysql.MySQLError
	if !errors.As(err, &myErr) {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%d %s", myErr.Number, myErr.SQLState[:])
}

// eachFlavor runs a test against both servers side by side.
func eachFlavor(t *testing.T, test func(t *testing.T, flavor string)) {
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) {
			t.Parallel()
			test(t, flavor)
		})
	}
}

func TestMySQLPasswordOverTLS(t *testing.T) {
	version := map[string]string{"mysql": "9.", "mariadb": "10.11."}
	inTheClear := map[string]string{"mysql": "3159 HY000", "mariadb": "1045 28000"}
	eachFlavor(t, func(t *testing.T, flavor string) {
		ctx := t.Context()
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, Settings: map[string]string{"max_connections": "17", "performance_schema": "ON"}})
		must(t, my.CreateUser(ctx, "o'app", `p'a\ss`, ""))
		login := my.Config("o'app", `p'a\ss`, "app")

		got, err := askMySQL(ctx, login, `SELECT concat_ws(' ', variable_value, current_user(), database(), @@max_connections, if(concat(@@log_bin) IN ('0', 'OFF'), 'without', 'with'), 'binlog')
			FROM performance_schema.session_status WHERE variable_name = 'Ssl_version'`)
		if want := "TLSv1.3 o'app@% app 17 without binlog"; err != nil || got != want {
			t.Errorf("logged in to %q, want %q: %v", got, want, err)
		}
		if !strings.HasPrefix(my.Version, version[flavor]) {
			t.Errorf("version %q", my.Version)
		}
		if _, err := askMySQL(ctx, my.Config("o'app", "wrong", "app"), "SELECT ''"); mysqlError(err) != "1045 28000" {
			t.Errorf("wrong password: %v", err)
		}
		if _, err := askMySQL(ctx, my.Config("root", "", ""), "SELECT ''"); err == nil {
			t.Error("root can log in through TCP")
		}
		clear := login.Clone()
		clear.TLS = nil
		if _, err := askMySQL(ctx, clear, "SELECT ''"); mysqlError(err) != inTheClear[flavor] {
			t.Errorf("login in the clear: %v", err)
		}
		must(t, my.SetPassword(ctx, "o'app", "next"))
		if _, err := askMySQL(ctx, login, "SELECT ''"); mysqlError(err) != "1045 28000" {
			t.Errorf("password of before the rotation: %v", err)
		}
		_, err = askMySQL(ctx, my.Config("o'app", "next", "app"), "SELECT ''")
		must(t, err)
	})
}

func TestMySQLPlugins(t *testing.T) {
	plugins := map[string][]string{
		"mysql":   {"caching_sha2_password", "sha256_password"},
		"mariadb": {"mysql_native_password", "ed25519"},
	}
	eachFlavor(t, func(t *testing.T, flavor string) {
		ctx := t.Context()
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})
		for _, plugin := range plugins[flavor] {
			must(t, my.CreateUser(ctx, plugin, "before", plugin, "SELECT ON mysql.user"))
			must(t, my.SetPassword(ctx, plugin, "secret"))
			got, err := askMySQL(ctx, my.Config(plugin, "secret", ""), "SELECT plugin FROM mysql.user WHERE concat(user, '@', host) = current_user()")
			if err != nil || got != plugin {
				t.Errorf("%s: %q, %v", plugin, got, err)
			}
			if _, err := askMySQL(ctx, my.Config(plugin, "wrong", ""), "SELECT ''"); mysqlError(err) != "1045 28000" {
				t.Errorf("%s: wrong password: %v", plugin, err)
			}
		}
		err := my.CreateUser(ctx, "iam", "secret", "AWSAuthenticationPlugin")
		if got := mysqlError(err); got != "1524 HY000" {
			t.Errorf("IAM without a verifier: %v", err)
		}
	})
}

func TestMySQLCertificates(t *testing.T) {
	ca, err := pki.NewRSACA("test")
	must(t, err)
	otherCA, err := pki.NewCA("other")
	must(t, err)
	leaf := func(l pki.Leaf) *pki.Certificate {
		cert, err := ca.Issue(l)
		must(t, err)
		return cert
	}
	tests := []struct {
		name    string
		options servers.MySQLOptions
		want    string // in the error; "" for success
	}{
		{"good", servers.MySQLOptions{Certificate: leaf(pki.Localhost()), CA: ca}, ""},
		{"default leaf", servers.MySQLOptions{CA: ca}, ""},
		{"expired", servers.MySQLOptions{Certificate: leaf(pki.Expired()), CA: ca}, "expired"},
		{"wrong host", servers.MySQLOptions{Certificate: leaf(pki.WrongHost()), CA: ca}, "valid for elsewhere.test, not localhost"},
		{"other authority", servers.MySQLOptions{Certificate: leaf(pki.Localhost()), CA: otherCA}, "unknown authority"},
		{"no tls", servers.MySQLOptions{NoTLS: true}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.Flavor = "mariadb"
			my := servers.RunMySQL(t, tt.options)
			must(t, my.CreateUser(t.Context(), "app", "secret", ""))
			my.Host = "localhost"
			_, err := askMySQL(t.Context(), my.Config("app", "secret", "app"), "SELECT ''")
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("login: %v, want %q", err, tt.want)
			}
		})
	}
}

func TestMySQLClientCertificate(t *testing.T) {
	clientCA, err := pki.NewCA("clients")
	must(t, err)
	cert, err := clientCA.Issue(pki.Leaf{Names: []string{"app"}, Client: true})
	must(t, err)
	pair, err := cert.TLS()
	must(t, err)
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, ClientCA: clientCA})
		must(t, my.CreateUser(t.Context(), "app", "secret", ""))
		login := my.Config("app", "secret", "app")
		if _, err := askMySQL(t.Context(), login, "SELECT ''"); mysqlError(err) != "1045 28000" {
			t.Errorf("without certificate: %v", err)
		}
		login.TLS.Certificates = []tls.Certificate{pair}
		_, err := askMySQL(t.Context(), login, "SELECT ''")
		must(t, err)
	})
}

// TestMySQLWithoutTLS is about a server that does not offer it, which is more
// than one that does not ask for it.
func TestMySQLWithoutTLS(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, NoTLS: true})
		must(t, my.CreateUser(t.Context(), "app", "secret", ""))
		login := my.Config("app", "secret", "app")
		if _, err := askMySQL(t.Context(), login, "SELECT ''"); err != nil { // MySQL's caching_sha2_password: by the server's RSA key
			t.Errorf("login in the clear: %v", err)
		}
		login.TLS = &tls.Config{InsecureSkipVerify: true}
		if _, err := askMySQL(t.Context(), login, "SELECT ''"); !errors.Is(err, mysql.ErrNoTLS) {
			t.Errorf("login over TLS: %v", err)
		}
	})
}

func TestMySQLIAMLogin(t *testing.T) {
	token := strings.Repeat("t0ken/+=&%", 160) // 1,600 bytes, as long as those with a session token
	verifier, err := servers.StartTokenVerifier(func(user, got string) error {
		if !strings.HasSuffix(user, " user") || got != token {
			return fmt.Errorf("%s with %d bytes", user, len(got))
		}
		return nil
	})
	must(t, err)
	t.Cleanup(func() { verifier.Close() })
	eachFlavor(t, func(t *testing.T, flavor string) {
		ctx := t.Context()
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, IAM: verifier})
		must(t, my.CreateIAMUser(ctx, "iam user"))
		must(t, my.CreateUser(ctx, "app", "secret", ""))
		users := []string{"iam user"}
		if flavor == "mariadb" {
			must(t, my.CreateUser(ctx, "pam user", "", "pam"))
			users = append(users, "pam user")
		}
		for _, user := range users {
			got, err := askMySQL(ctx, my.Config(user, token, "app"), "SELECT current_user()")
			if err != nil || got != user+"@%" {
				t.Errorf("%s: good token: %q, %v", user, got, err)
			}
			for _, bad := range []string{token[1:], token + "x", "short"} {
				if _, err = askMySQL(ctx, my.Config(user, bad, "app"), "SELECT ''"); mysqlError(err) != "1045 28000" {
					t.Errorf("%s: bad token of %d bytes: %v", user, len(bad), err)
				}
			}
		}
		_, err := askMySQL(ctx, my.Config("iam user", token[1:], "app"), "SELECT ''")
		if want := "Error 1045 (28000): Access denied for user 'iam user'@'127.0.0.1' (using password: YES)"; err == nil || err.Error() != want {
			t.Errorf("bad token: %v", err)
		}
		clear := my.Config("iam user", token, "app")
		clear.AllowCleartextPasswords = false // the server must ask for mysql_clear_password
		if _, err := askMySQL(ctx, clear, "SELECT ''"); !errors.Is(err, mysql.ErrCleartextPassword) {
			t.Errorf("client that sends nothing in the clear: %v", err)
		}
		if _, err := askMySQL(ctx, my.Config("app", "secret", "app"), "SELECT ''"); err != nil {
			t.Errorf("password user beside IAM: %v", err)
		}
	})
}

// TestMySQLPrograms uses what each flavor's programs are wanted for.
func TestMySQLPrograms(t *testing.T) {
	programs := map[string][][]string{
		"mysql": {
			{"mysql", "--execute=INSERT INTO t VALUES (1)", "app"},
			{"mysqldump", "--single-transaction", "--no-tablespaces", "app"},
			{"mysqladmin", "ping"},
			{"mysqlshow", "app"},
			{"mysqlslap", "--query=SELECT 1", "--iterations=3"},
			{"mysqlbinlog", "--read-from-remote-server", "binlog.000001"},
		},
		"mariadb": {
			{"mariadb", "--execute=INSERT INTO t VALUES (1)", "app"},
			{"mariadb-dump", "--single-transaction", "app"},
			{"mariadb-admin", "ping"},
			{"mariadb-show", "app"},
			{"mariadb-slap", "--query=SELECT 1", "--iterations=3"},
			{"mariadb-binlog", "--read-from-remote-server", "binlog.000001"},
		},
	}
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, Binlog: true})
		must(t, my.CreateUser(t.Context(), "app", "secret", "", "RELOAD, REPLICATION SLAVE, REPLICATION CLIENT ON *.*"))
		must(t, my.Exec(t.Context(), "CREATE TABLE app.t (i INT)"))
		var last string
		for _, run := range programs[flavor] {
			cmd := exec.CommandContext(t.Context(), servers.MySQLProgram(t, flavor, run[0]), append(my.Flags("app", "secret"), run[1:]...)...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", run[0], err, out)
			}
			last = string(out)
		}
		if !strings.Contains(last, "CREATE TABLE app.t") || !strings.Contains(last, "Write_rows") {
			t.Errorf("binary log:\n%s", last)
		}
	})
}

// TestMySQLForeignClient has each flavor's client load the login plugin for the
// other's users, which is not built in.
func TestMySQLForeignClient(t *testing.T) {
	foreign := map[string]string{"mysql": "mariadb", "mariadb": "mysql"}
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})
		must(t, my.CreateUser(t.Context(), "app", "secret", ""))
		client := *my
		client.Flavor = foreign[flavor]
		cmd := exec.CommandContext(t.Context(), servers.MySQLProgram(t, client.Flavor, client.Flavor), append(client.Flags("app", "secret"), "--execute=SELECT 1", "app")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func TestMySQLErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer busy.Close()
	port := fmt.Sprint(busy.Addr().(*net.TCPAddr).Port)
	tests := []struct {
		name    string
		options servers.MySQLOptions
		want    string
	}{
		{"unknown flavor", servers.MySQLOptions{Flavor: "oracle"}, "run integration/setup.sh"},
		{"bad setting of mysql", servers.MySQLOptions{Flavor: "mysql", Settings: map[string]string{"no_such": "1"}}, "unknown variable 'no_such=1'"},
		{"bad setting of mariadb", servers.MySQLOptions{Flavor: "mariadb", Settings: map[string]string{"no_such": "1"}}, "unknown variable 'no_such=1'"},
		{"port taken", servers.MySQLOptions{Flavor: "mariadb", Settings: map[string]string{"port": port}}, "Address already in use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			my, err := servers.StartMySQL(t.Context(), tt.options)
			if err == nil {
				my.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
