package integration_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// shortAwkwardPasswords are hard to quote, to encode, and to fit in: RSA of 2,048 bits
// encrypts 214 bytes at most.
var shortAwkwardPasswords = []string{
	appPassword,
	"пароль-密码-🔑-ä",
	`q'u"o\te` + "`$%\x01 ;#",
	strings.Repeat("planted-long", 16) + "12345678", // 200 bytes
}

// mySQLPlugins are the plugins by which a server of each flavor knows passwords.
// MySQL 9 has no mysql_native_password any more.
var mySQLPlugins = map[string][]string{
	"mysql":   {"caching_sha2_password", "sha256_password"},
	"mariadb": {"mysql_native_password", "ed25519"},
}

// authStand is a server with users of every plugin and password, and a credproxy
// with a database for each of them, to which credproxy's way leads over a tap.
type authStand struct {
	*watched
	my    *servers.MySQL
	wire  *tap
	users []string // also the databases' names
}

// newAuthStand starts one. mode is the databases' tls.mode.
func newAuthStand(t *testing.T, flavor, mode string) *authStand {
	t.Helper()
	s := &authStand{my: servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, NoTLS: mode == "disable"})}
	s.wire = startTap(t, listenLocal(t), s.my.Addr())
	aws := startAWS(t, awsstub.Options{})
	config := "databases:\n"
	for _, plugin := range mySQLPlugins[flavor] {
		for i, password := range shortAwkwardPasswords {
			user := fmt.Sprintf("%s-%d", plugin, i)
			if err := s.my.CreateUser(t.Context(), user, password, plugin); err != nil {
				t.Fatal(err)
			}
			arn := aws.CreateSecret(user, mySQLSecret(s.my, user, password))
			config += mySQLEntry(user, arn, fmt.Sprintf("port: %d", s.wire.port()), mySQLLink(mode, s.my.CAFile))
			s.users = append(s.users, user)
		}
	}
	s.watched = watch(t, sidecar.Options{Env: aws.Env(), Config: config}, shortAwkwardPasswords...)
	return s
}

// keyRequests counts the times that credproxy asked for an RSA key, by the packet
// that a login over a plain link does it with.
func (s *authStand) keyRequests() int {
	return bytes.Count(s.wire.sent(), []byte{1, 0, 0, 3, 2}) + // caching_sha2_password, after the server's "full authentication"
		bytes.Count(s.wire.sent(), []byte{1, 0, 0, 3, 1}) // sha256_password, after its AuthSwitchRequest
}

// logInAll logs in as every user, twice.
func (s *authStand) logInAll(t *testing.T) {
	t.Helper()
	for _, user := range s.users {
		for range 2 {
			conn := openMySQL(t, noPassword(s.Addr(t, user), ""))
			if got := text(t, conn, "SELECT CURRENT_USER()"); got != user+"@%" {
				t.Errorf("%s: logged in as %s", user, got)
			}
			_ = conn.Close()
		}
	}
}

// TestMySQLPasswords logs in by every plugin with awkward passwords, inside TLS
// and in the clear, where each plugin keeps the password secret by itself. It
// starts with a server that has never seen the users: caching_sha2_password then
// needs the password itself, and later knows its hash; FLUSH PRIVILEGES makes it
// forget.
func TestMySQLPasswords(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		for _, mode := range []string{"verify-full", "disable"} {
			t.Run(mode, func(t *testing.T) {
				s := newAuthStand(t, flavor, mode)
				const n = 4 // passwords
				proved(t, s.Proxy, s.users...)
				for round := 1; round <= 2; round++ {
					s.logInAll(t)
					want := 0
					if flavor == "mysql" && mode == "disable" {
						want = round*(n+2*n) + n // once for caching_sha2_password, at each login for sha256_password, also the first of credproxy's own
					}
					if got := s.keyRequests(); got != want {
						t.Errorf("round %d: credproxy asked for %d keys, want %d", round, got, want)
					}
					if err := s.my.Exec(t.Context(), "FLUSH PRIVILEGES"); err != nil {
						t.Fatal(err)
					}
				}
				for _, password := range shortAwkwardPasswords {
					if bytes.Contains(s.wire.sent(), []byte(password)) {
						t.Errorf("the password %q was on the wire", password)
					}
				}
				if inClear := bytes.Contains(s.wire.sent(), []byte(s.users[0])); inClear != (mode == "disable") {
					t.Errorf("the user was on the wire: %v", inClear)
				}
			})
		}
	})
}

// TestMySQLUnknownPlugin shows users who log in by what credproxy cannot do: the
// error names it.
func TestMySQLUnknownPlugin(t *testing.T) {
	verifier := newVerifier(t, func(string, string) error { return nil })
	aws := startAWS(t, awsstub.Options{})
	t.Run("mariadb", func(t *testing.T) {
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: "mariadb", IAM: verifier, Settings: map[string]string{"pam_use_cleartext_plugin": "OFF"}})
		if err := my.CreateUser(t.Context(), "app", "", "pam"); err != nil {
			t.Fatal(err)
		}
		arn := aws.CreateSecret("dialog", mySQLSecret(my, "app", appPassword))
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + mySQLEntry("main", arn, "tls: "+tlsYAML("", my.CAFile))}, appPassword)
		mySQLOurs(t, w.mySQLRefused(t, "main", ""), "1105 HY000", `the authentication plugin "dialog", which credproxy cannot do`)
		w.failure(t, "main", `"result":"upstream_auth"`, "dialog", "caching_sha2_password")
	})
	t.Run("mysql", func(t *testing.T) { // a second factor; only its own client can do that at all
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: "mysql", IAM: verifier})
		if err := my.CreateUser(t.Context(), "app", appPassword, ""); err != nil {
			t.Fatal(err)
		}
		if err := my.Exec(t.Context(), "ALTER USER app ADD 2 FACTOR IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS'"); err != nil {
			t.Fatal(err)
		}
		arn := aws.CreateSecret("factor", mySQLSecret(my, "app", appPassword))
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + mySQLEntry("main", arn, "tls: "+tlsYAML("", my.CAFile))}, appPassword)
		host, port, _ := strings.Cut(w.Addr(t, "main"), ":")
		cmd := exec.CommandContext(t.Context(), servers.MySQLProgram(t, "mysql", "mysql"), "--no-defaults", "--host="+host, "--port="+port, "--user=anybody", "--execute=SELECT 1")
		out, err := cmd.CombinedOutput()
		if want := "credproxy: the database asks for a second factor of authentication, which credproxy cannot do"; err == nil || !strings.Contains(string(out), want) {
			t.Errorf("the client says %s, %v; want %s", out, err, want)
		}
		w.failure(t, "main", `"result":"upstream_auth"`, "second factor")
	})
}

// TestMySQLCleartext shows that the password itself goes to a verified database
// only: neither in the clear nor inside TLS to nobody knows whom.
func TestMySQLCleartext(t *testing.T) {
	const token = "planted-as-if-it-were-a-token"
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		var asked tokens
		verifier := newVerifier(t, asked.verify)
		safe := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, IAM: verifier})
		open := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, IAM: verifier, NoTLS: true})
		aws := startAWS(t, awsstub.Options{})
		for _, my := range []*servers.MySQL{safe, open} {
			if err := my.CreateIAMUser(t.Context(), "iam-user"); err != nil {
				t.Fatal(err)
			}
		}
		wire := startTap(t, listenLocal(t), open.Addr())
		arn := aws.CreateSecret("prod/main", mySQLSecret(safe, "iam-user", token))
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
			mySQLEntry("verified", arn, "tls: "+tlsYAML("verify-full", safe.CAFile)) +
			mySQLEntry("verified-ca", arn, "tls: "+tlsYAML("verify-ca", safe.CAFile)) +
			mySQLEntry("encrypted", arn, "tls: "+tlsYAML("require", "")) +
			mySQLEntry("clear", arn, "tls: "+tlsYAML("disable", ""), fmt.Sprintf("port: %d", wire.port())),
		}, token)
		proved(t, w.Proxy, "verified", "verified-ca")
		asked.seen()
		for _, name := range []string{"encrypted", "clear"} {
			mySQLOurs(t, w.mySQLRefused(t, name, ""), "1105 HY000", "the password was not sent")
			w.failure(t, name, `"result":"upstream_auth"`, "tls.mode")
		}
		if sent := wire.sent(); !bytes.Contains(sent, []byte("iam-user")) || bytes.Contains(sent, []byte(token)) {
			t.Errorf("credproxy sent %q, want its user and no password", sent)
		}
		if seen := asked.seen(); len(seen) != 0 { // nor inside the TLS that the tap could not look into
			t.Errorf("a server got %q", seen)
		}
		for _, name := range []string{"verified", "verified-ca"} {
			if err := w.mySQL(t, name, ""); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if seen := asked.seen(); len(seen) != 2 || seen[0] != token {
			t.Errorf("the servers got %q, want the password twice", seen)
		}
	})
}
