package integration_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// newVerifier decides about IAM users for a test.
func newVerifier(t testing.TB, verify func(user, token string) error) *servers.TokenVerifier {
	t.Helper()
	v, err := servers.StartTokenVerifier(verify)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// tokens is what servers got, and why some of it was refused.
type tokens struct {
	decide func(user, token string) error // nil: all are good

	mu  sync.Mutex
	got []string
	why []string
}

func (s *tokens) verify(user, token string) (err error) {
	if s.decide != nil {
		err = s.decide(user, token)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, token)
	if err != nil {
		s.why = append(s.why, err.Error())
	}
	return err
}

// seen is what came since the last call.
func (s *tokens) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

// refusals is why tokens were refused since the last call.
func (s *tokens) refusals() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	why := strings.Join(s.why, "; ")
	s.why = nil
	return why
}

// TestMySQLIAM shows logins with tokens that a real server has verified, as
// PostgreSQL's TestIAM does: accepted, also after COM_CHANGE_USER, and each way of
// being refused, in the server's own words.
func TestMySQLIAM(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		aws := startAWS(t, awsstub.Options{Identities: []awsstub.Identity{
			{AccessKeyID: "ASIAPLANTEDSESSION", SecretAccessKey: secretAccessKey, SessionToken: sessionToken},
		}})
		s := tokens{decide: func(user, token string) error {
			return aws.VerifyRDSToken(token, rdsHost, 3306, user, time.Now())
		}}
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, IAM: newVerifier(t, s.verify)})
		if err := my.CreateIAMUser(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
		entry := func(name, iam string) string {
			return database(name, "iam: {"+iam+"}", "engine: "+flavor, "host: localhost", fmt.Sprintf("port: %d", my.Port),
				"database: app", "tls: "+tlsYAML("", my.CAFile))
		}
		signed := fmt.Sprintf("signing_host: %q", rdsHost+":3306")
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + entry("main", "user: app, "+signed)}, secretAccessKey, sessionToken)
		proved(t, w.Proxy, "main")
		s.seen()
		s.refusals()
		t.Run("accepted", func(t *testing.T) { w.manyIAMLogins(t, &s) })
		t.Run("change user", func(t *testing.T) { w.changeIAMUser(t, my, &s) })
		wrong := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
			entry("host", "user: app, region: eu-west-1, signing_host: localhost") + entry("user", "user: stranger, "+signed),
		}, secretAccessKey, sessionToken)
		t.Run("wrong signing_host", func(t *testing.T) {
			wrong.iamRefused(t, "host", "app", "signing_host", "rds-db:connect")
			if why := s.refusals(); !strings.Contains(why, "localhost") {
				t.Errorf("the token was refused because %s", why)
			}
		})
		t.Run("unknown user", func(t *testing.T) {
			wrong.iamRefused(t, "user", "stranger", "AWSAuthenticationPlugin")
			if err := my.CreateIAMUser(t.Context(), "stranger"); err != nil {
				t.Fatal(err)
			}
			wrong.mySQLRecovers(t, "user", "")
		})
		t.Run("expired AWS credentials", func(t *testing.T) {
			s.refusals()
			aws.ExpireCredentials("ASIAPLANTEDSESSION")
			w.iamRefused(t, "main", "app", "AWS credentials")
			if why := s.refusals(); !strings.Contains(why, "credentials that signed the token expired") {
				t.Errorf("the token was refused because %s", why)
			}
		})
		seen := s.seen()
		w.hidesTokens(t, seen)
		wrong.hidesTokens(t, seen)
	})
}

// manyIAMLogins logs in at the same time; one token serves all.
func (w *watched) manyIAMLogins(t *testing.T, s *tokens) {
	const logins = 20
	var all sync.WaitGroup
	for range logins {
		all.Go(func() {
			if err := w.mySQL(t, "main", ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got := s.seen()
	distinct := map[string]bool{}
	for _, token := range got {
		distinct[token] = true
	}
	if len(got) != logins || len(distinct) != 1 || len(got[0]) < 1500 || s.refusals() != "" {
		t.Errorf("%d logins with %d tokens, want %d with 1", len(got), len(distinct), logins)
	}
	w.hidesTokens(t, got[:1])
}

// changeIAMUser changes the user on one connection: the token is longer than the
// command's field for a password.
func (w *watched) changeIAMUser(t *testing.T, my *servers.MySQL, s *tokens) {
	c := rawLogin(t, w.Addr(t, "main"), mysqlHello{caps: usualCaps, charset: 45, user: "anybody", plugin: "mysql_native_password"})
	s.seen()
	for range 3 {
		c.command(comQuery, []byte("SET @left = 1"))
		if end := c.changeUser("somebody", "app"); end[0] != 0 {
			t.Fatalf("COM_CHANGE_USER: %s", mysqlError(end))
		}
		if got := c.value("SELECT CONCAT_WS(' ', CURRENT_USER(), DATABASE(), @left)"); got != "app@% app" {
			t.Errorf("the session is %q, want a fresh one of app", got)
		}
	}
	if got := s.seen(); len(got) != 3 {
		t.Errorf("%s verified %d tokens for 3 changes", my.Flavor, len(got))
	}
}

// iamRefused logs in at a database where the server refuses.
func (w *watched) iamRefused(t *testing.T, name, user string, logged ...string) {
	t.Helper()
	e := w.mySQLRefused(t, name, "")
	if want := fmt.Sprintf("Access denied for user '%s'@'127.0.0.1' (using password: ", user); mySQLCode(e) != "1045 28000" || !strings.HasPrefix(e.Message, want) {
		t.Errorf("client is told %s: %s\nwant the server's own words: %s", mySQLCode(e), e.Message, want)
	}
	w.failure(t, name, append(logged, `"result":"credential_rejected"`, "1045")...)
}
