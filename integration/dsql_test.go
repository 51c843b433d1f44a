package integration_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

const (
	dsqlHost = "abc123def.dsql.eu-west-1.on.aws"
	dsqlRole = "arn:aws:iam::" + awsstub.AccountID + ":role/shop" // whom the role app is granted to
)

// newDSQLStand is a PostgreSQL that checks tokens and demands TLS 1.3 as Aurora DSQL does, with
// the roles admin, app, which is granted to dsqlRole, and stranger, granted to nobody.
func newDSQLStand(t *testing.T, settings map[string]string, roles ...awsstub.Role) *iamStand {
	t.Helper()
	ca, err := pki.NewCA("Test authority of Aurora DSQL")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(pki.Leaf{Names: []string{dsqlHost}})
	if err != nil {
		t.Fatal(err)
	}
	s := &iamStand{aws: startAWS(t, awsstub.Options{
		Identities: []awsstub.Identity{{AccessKeyID: "AKIAPLANTEDSTATIC", SecretAccessKey: secretAccessKey}}, Roles: roles,
	})}
	s.decides = func(user, token string) error {
		granted := map[string][]string{"app": {dsqlRole}}
		return s.aws.VerifyDSQLToken(token, dsqlHost, user, granted[user], time.Now())
	}
	s.start(t, servers.PostgresOptions{Version: 18, CA: ca, Certificate: cert, Settings: settings})
	for _, user := range []string{"admin", "app", "stranger"} {
		if err := s.CreateIAMRole(t.Context(), user); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// dsql is one database that logs in with tokens of Aurora DSQL, through a tunnel.
func (s *iamStand) dsql(name, dsql string) string {
	return database(name, "dsql: {"+dsql+"}", "host: localhost", fmt.Sprintf("port: %d", s.Port),
		fmt.Sprintf("tls: {ca_file: %q, server_name: %s}", s.CAFile, dsqlHost))
}

// TestDSQL shows logins with tokens of Aurora DSQL that a real server has verified: signature,
// cluster, action, whom the role is granted to, and age. One token serves many logins.
func TestDSQL(t *testing.T) {
	s := newDSQLStand(t, map[string]string{"ssl_min_protocol_version": "TLSv1.3"}, awsstub.Role{ARN: dsqlRole})
	w := watch(t, sidecar.Options{Env: s.aws.Env(), Config: "databases:\n" +
		s.dsql("admin", "user: admin") +
		s.dsql("app", fmt.Sprintf("user: app, assume_role: {role_arn: %q}", dsqlRole)) +
		s.dsql("stranger", fmt.Sprintf("user: stranger, region: eu-west-1, assume_role: {role_arn: %q}", dsqlRole)),
	}, secretAccessKey)
	proved(t, w.Proxy, "admin")
	proved(t, w.Proxy, "app")
	w.AwaitLog(t, "was AWS IAM GRANT run for the role")
	s.seen()
	for name, action := range map[string]string{"admin": "DbConnectAdmin", "app": "DbConnect"} {
		const logins = 20
		var all sync.WaitGroup
		for range logins {
			all.Go(func() {
				if err := w.logIn(t.Context(), w.Addr(t, name), "postgres"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		n, tokens, why := s.seen()
		if n != logins || len(tokens) != 1 || why != "" {
			t.Fatalf("%s: %d logins with %d tokens, refused: %s; want %d with 1", name, n, len(tokens), why, logins)
		}
		if got := tokenQuery(t, tokens[0]).Get("Action"); got != action {
			t.Errorf("%s: action %q", name, got)
		}
		w.hidesTokens(t, tokens)
	}
	if e := w.refused(t, "stranger", "postgres"); e.Code != "28000" {
		t.Errorf("stranger is told %s: %s, want the server's own words", e.Code, e.Message)
	}
	w.failure(t, "stranger", `"result":"credential_rejected"`, "dsql:DbConnect")
	w.AwaitLog(t, `"server_name":"`+dsqlHost+`"`)
}

// TestDSQLDemandsTLS13: what speaks no TLS 1.3 is not Aurora DSQL, and gets no token.
func TestDSQLDemandsTLS13(t *testing.T) {
	s := newDSQLStand(t, map[string]string{"ssl_max_protocol_version": "TLSv1.2"})
	w := watch(t, sidecar.Options{Env: s.aws.Env(), Config: "databases:\n" + s.dsql("admin", "user: admin")}, secretAccessKey)
	w.ours(t, w.refused(t, "admin", "postgres"), "57P03", "TLS")
	if logins, _, _ := s.seen(); logins != 0 {
		t.Errorf("%d tokens were sent", logins)
	}
}
