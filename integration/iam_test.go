package integration_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// rdsHost is what RDS calls the database; clients of the tests reach it as
// localhost, as through a tunnel.
const rdsHost = "orders.cluster-abc.eu-west-1.rds.amazonaws.com"

// iamStand is a PostgreSQL that checks tokens as RDS does.
type iamStand struct {
	*servers.Postgres
	aws     *awsstub.Server
	decides func(user, token string) error

	mu     sync.Mutex
	busy   bool // each tenth login is refused, whatever the token
	logins int
	tokens map[string]int // times that each was accepted
	why    []string       // refusals
}

func newIAMStand(t *testing.T, version int, o awsstub.Options) *iamStand {
	s := &iamStand{aws: startAWS(t, o)}
	s.decides = func(user, token string) error { return s.aws.VerifyRDSToken(token, rdsHost, 5432, user, time.Now()) }
	s.start(t, servers.PostgresOptions{Version: version})
	if err := s.CreateIAMRole(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs the PostgreSQL.
func (s *iamStand) start(t *testing.T, o servers.PostgresOptions) {
	s.tokens = map[string]int{}
	verifier, err := servers.StartTokenVerifier(s.verify)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = verifier.Close() })
	o.IAM = verifier
	s.Postgres = servers.RunPostgres(t, o)
}

func (s *iamStand) verify(user, token string) error {
	err := s.decides(user, token)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins++
	s.tokens[token]++
	if err == nil && s.busy && s.logins%10 == 0 {
		err = errors.New("short of CPU")
	}
	if err != nil {
		s.why = append(s.why, err.Error())
	}
	return err
}

// seen is what the verifier saw since the last call.
func (s *iamStand) seen() (logins int, tokens []string, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token := range s.tokens {
		tokens = append(tokens, token)
	}
	logins, why = s.logins, strings.Join(s.why, "; ")
	s.logins, s.tokens, s.why = 0, map[string]int{}, nil
	return logins, tokens, why
}

// config is one database that logs in with tokens.
func (s *iamStand) config(name, iam string, more ...string) string {
	return database(name, "iam: {"+iam+"}", append(more, "engine: postgres", "host: localhost",
		fmt.Sprintf("port: %d", s.Port), "database: postgres", "tls: "+tlsYAML("", s.CAFile))...)
}

const signedFor = "signing_host: \"" + rdsHost + ":5432\""

// secretAccessKey and sessionToken are planted, too. The token is as long as
// those of roles with many session tags.
const secretAccessKey = "planted/wJalrXUtnFEMI/K7MDENG/bPxRfiCY12"

var sessionToken = "plantedIQoJb3JpZ2luX2Vj" + strings.Repeat("Zm9vYmFy", 150)

// TestIAM shows logins with tokens that a real server has verified: signature,
// user, host and age. One token serves many logins.
func TestIAM(t *testing.T) {
	const (
		role       = "arn:aws:iam::" + awsstub.AccountID + ":role/database"
		externalID = "planted-external-7f3a"
	)
	s := newIAMStand(t, 15, awsstub.Options{
		Identities: []awsstub.Identity{
			{AccessKeyID: "AKIAPLANTEDSTATIC", SecretAccessKey: secretAccessKey},
			{AccessKeyID: "ASIAPLANTEDSESSION", SecretAccessKey: secretAccessKey, SessionToken: sessionToken},
		},
		Roles: []awsstub.Role{{ARN: role, ExternalID: externalID}},
	})
	session := append(s.aws.Env(), "AWS_ACCESS_KEY_ID=ASIAPLANTEDSESSION", "AWS_SESSION_TOKEN="+sessionToken)
	for _, tt := range []struct {
		name, iam string
		env       []string
		key       string // how the access key id in the token begins
		longer    int    // than so many bytes is the token
	}{
		{"static keys", "user: app, " + signedFor, s.aws.Env(), "AKIAPLANTEDSTATIC", 300},
		{"long session token", "user: app, " + signedFor, session, "ASIAPLANTEDSESSION", 1500},
		{"container credentials", "user: app, region: eu-west-1, " + signedFor, s.aws.ContainerEnv(), "ASIA", 600},
		{
			"assumed role", fmt.Sprintf("user: app, %s, assume_role: {role_arn: %q, external_id: %s}", signedFor, role, externalID),
			s.aws.Env(), "ASIA", 600,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := watch(t, sidecar.Options{Env: tt.env, Config: "databases:\n" + s.config("main", tt.iam)}, secretAccessKey, sessionToken)
			proved(t, w.Proxy, "main")
			s.seen()
			const logins = 20
			var all sync.WaitGroup
			for range logins {
				all.Go(func() {
					if err := w.logIn(t.Context(), w.Addr(t, "main"), "postgres"); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			n, tokens, why := s.seen()
			if n != logins || len(tokens) != 1 || why != "" {
				t.Fatalf("%d logins with %d tokens, refused: %s; want %d with 1", n, len(tokens), why, logins)
			}
			if id := tokenQuery(t, tokens[0]).Get("X-Amz-Credential"); !strings.HasPrefix(id, tt.key) || len(tokens[0]) < tt.longer {
				t.Errorf("token of %d bytes signed by %s, want more than %d by %s", len(tokens[0]), id, tt.longer, tt.key)
			}
			w.hidesTokens(t, tokens)
		})
	}
}

func tokenQuery(t testing.TB, token string) url.Values {
	t.Helper()
	u, err := url.Parse("https://" + token)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// hidesTokens looks for what is secret in a token.
func (w *watched) hidesTokens(t testing.TB, tokens []string) {
	t.Helper()
	_, metrics, err := w.Get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	said := w.Log() + metrics
	for _, token := range tokens {
		query := tokenQuery(t, token)
		for _, secret := range []string{query.Get("X-Amz-Signature"), query.Get("X-Amz-Security-Token")} {
			if secret != "" && (strings.Contains(said, secret) || strings.Contains(said, url.QueryEscape(secret))) {
				t.Errorf("log or metrics show a part of a token: %s", secret)
			}
		}
	}
}

// TestIAMTransientRefusals has 500 clients log in while a server that is short of CPU refuses
// a tenth of all logins, as RDS does. At most 12 % of them may fail; those who meet a
// refusal get in at their second try.
func TestIAMTransientRefusals(t *testing.T) {
	s := newIAMStand(t, 18, awsstub.Options{Identities: []awsstub.Identity{{AccessKeyID: "AKIAPLANTEDSTATIC", SecretAccessKey: secretAccessKey}}})
	w := watch(t, sidecar.Options{Env: s.aws.Env(), Config: "databases:\n" + s.config("main", "user: app, "+signedFor)}, secretAccessKey)
	proved(t, w.Proxy, "main")
	s.mu.Lock()
	s.busy = true
	s.mu.Unlock()
	s.seen()
	const clients, atOnce = 500, 20
	var failed atomic.Int64
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for range clients / atOnce {
				if err := w.logIn(t.Context(), w.Addr(t, "main"), "postgres"); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	logins, _, why := s.seen()
	t.Logf("%d of %d clients failed; of %d logins %d were refused", failed.Load(), clients, logins, strings.Count(why, "short of CPU"))
	if n := failed.Load(); n > clients*12/100 || !strings.Contains(why, "short of CPU") {
		t.Errorf("%d of %d clients failed", n, clients)
	}
}

// TestIAMRefused shows what is said, to the client and in the log, when a token
// is not taken, and that the same listener works when the cause is gone.
func TestIAMRefused(t *testing.T) {
	var allowed atomic.Bool
	s := newIAMStand(t, 18, awsstub.Options{Identities: []awsstub.Identity{
		{AccessKeyID: "AKIAPLANTEDSTATIC", SecretAccessKey: secretAccessKey},
		{AccessKeyID: "AKIAPLANTEDNOPOLICY", SecretAccessKey: secretAccessKey, Allow: func(action, _ string) bool {
			return action != "rds-db:connect" || allowed.Load()
		}},
	}})
	if err := s.Exec(t.Context(), "CREATE ROLE plain LOGIN"); err != nil {
		t.Fatal(err)
	}
	w := watch(t, sidecar.Options{Env: s.aws.Env(), Config: "databases:\n" +
		s.config("host", "user: app, region: eu-west-1, signing_host: localhost") +
		s.config("user", "user: stranger, "+signedFor) +
		s.config("role", "user: plain, "+signedFor),
	}, secretAccessKey)
	noPolicy := watch(t, sidecar.Options{
		Env:    append(s.aws.Env(), "AWS_ACCESS_KEY_ID=AKIAPLANTEDNOPOLICY"),
		Config: "databases:\n" + s.config("policy", "user: app, "+signedFor),
	}, secretAccessKey)
	cases := []struct {
		name, code, message string
		w                   *watched
		logged              []string
		repair              func() error
	}{
		{"host", "28000", `PAM authentication failed for user "app"`, w, []string{"signing_host", "rds-db:connect"}, nil},
		{"user", "28P01", `password authentication failed for user "stranger"`, w, []string{"rds_iam"}, func() error {
			return s.CreateIAMRole(t.Context(), "stranger")
		}},
		{"role", "28P01", `password authentication failed for user "plain"`, w, []string{"rds_iam"}, func() error {
			return s.Exec(t.Context(), "GRANT rds_iam TO plain")
		}},
		{"policy", "28000", `PAM authentication failed for user "app"`, noPolicy, []string{"rds-db:connect"}, func() error {
			allowed.Store(true)
			return nil
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := c.w.refused(t, c.name, "postgres")
			if e.Code != c.code || e.Message != c.message {
				t.Errorf("client is told %s: %s, want the server's own words", e.Code, e.Message)
			}
			c.w.failure(t, c.name, append(c.logged, `"result":"credential_rejected"`, "authentication failed for user")...)
			if c.repair == nil {
				return
			}
			if err := c.repair(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, c := range cases {
		if c.repair != nil {
			c.w.recovers(t, c.name, "postgres")
		}
	}
	_, tokens, _ := s.seen()
	w.hidesTokens(t, tokens)
	noPolicy.hidesTokens(t, tokens)
}

// TestIAMExpiredSigner shows AWS credentials that have expired: those of a task
// whose role hands out no newer ones, and those of a key that AWS no longer takes.
func TestIAMExpiredSigner(t *testing.T) {
	s := newIAMStand(t, 15, awsstub.Options{Identities: []awsstub.Identity{
		{AccessKeyID: "ASIAPLANTEDSESSION", SecretAccessKey: secretAccessKey, SessionToken: sessionToken},
	}})
	s.aws.AddRole(awsstub.Role{ARN: awsstub.TaskRole, Lifetime: -time.Minute})
	task := watch(t, sidecar.Options{Env: s.aws.ContainerEnv(), Config: "databases:\n" + s.config("task", "user: app, "+signedFor)})
	task.ours(t, task.refused(t, "task", "postgres"), "57P03", "no database credential")
	task.failure(t, "task", `"result":"secret"`, "the AWS credentials to sign tokens with expire")
	s.aws.AddRole(awsstub.Role{ARN: awsstub.TaskRole})
	task.recovers(t, "task", "postgres")

	key := watch(t, sidecar.Options{Env: s.aws.Env(), Config: "databases:\n" + s.config("key", "user: app, "+signedFor)}, secretAccessKey, sessionToken)
	if err := key.logIn(t.Context(), key.Addr(t, "key"), "postgres"); err != nil {
		t.Fatal(err)
	}
	s.aws.ExpireCredentials("ASIAPLANTEDSESSION")
	s.seen()
	if e := key.refused(t, "key", "postgres"); e.Code != "28000" || e.Message != `PAM authentication failed for user "app"` {
		t.Errorf("client is told %s: %s, want the server's own words", e.Code, e.Message)
	}
	if _, _, why := s.seen(); !strings.Contains(why, "credentials that signed the token expired") {
		t.Errorf("the token was refused because %s", why)
	}
	key.failure(t, "key", `"result":"credential_rejected"`, "AWS credentials")
}
