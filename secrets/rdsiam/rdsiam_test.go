package rdsiam_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
	"github.com/credproxy/credproxy/secrets/rdsiam"
	"github.com/credproxy/credproxy/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	endpoint = "orders.cluster-abc.eu-west-1.rds.amazonaws.com:5432"
	roleARN  = "arn:aws:iam::210987654321:role/connect"
)

var _ secrets.Source = (*rdsiam.Source)(nil)

// setEnvironment leaves the SDK fixed credentials and nothing else of this machine.
func setEnvironment(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // so that it comes back after the test
			os.Unsetenv(name)
		}
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key-of-the-test")
}

// startSTS serves AssumeRole: the n-th credentials live for lives[n], and the
// last for all after. It returns the number of calls.
func startSTS(t *testing.T, lives ...time.Duration) *atomic.Int64 {
	t.Helper()
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := int(calls.Add(1)) - 1
		fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AKIDROLE%d</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
			<SessionToken>session</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			n, time.Now().Add(lives[min(n, len(lives)-1)]).UTC().Format(time.RFC3339Nano))
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
	return &calls
}

func TestToken(t *testing.T) {
	setEnvironment(t)
	source, err := rdsiam.New(t.Context(), rdsiam.Options{User: "app&x", Endpoint: strings.ToUpper(strings.Replace(endpoint, ":", ".:", 1))})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	c, err := source.Fetch(t.Context(), secrets.Current)
	if err != nil {
		t.Fatal(err)
	}
	wantExpiry(t, c, before, 14*time.Minute)
	if c.Username != "app&x" || c.VersionID == "" || c.Endpoint != (secrets.Endpoint{}) {
		t.Errorf("got %v, %+v", c, c.Endpoint)
	}
	token, err := url.Parse("https://" + secretstest.Reveal(c))
	if err != nil {
		t.Fatal(err)
	}
	if token.Host != endpoint || token.Path != "/" {
		t.Errorf("signed for %s, path %q", token.Host, token.Path)
	}
	query := token.Query()
	for key, want := range map[string]string{"Action": "connect", "DBUser": "app&x", "X-Amz-Expires": "900"} {
		if query.Get(key) != want {
			t.Errorf("%s = %q", key, query.Get(key))
		}
	}
	scope := query.Get("X-Amz-Credential")
	if !strings.HasPrefix(scope, "AKIDTEST/") || !strings.HasSuffix(scope, "/eu-west-1/rds-db/aws4_request") {
		t.Errorf("credential scope %q", scope)
	}
	if source.Kind() != "iam" {
		t.Errorf("kind %q", source.Kind())
	}
}

func TestDSQLToken(t *testing.T) {
	setEnvironment(t)
	startSTS(t, 5*time.Minute)
	for user, action := range map[string]string{"admin": "DbConnectAdmin", "Admin": "DbConnect", "app": "DbConnect"} {
		source, err := rdsiam.NewDSQL(t.Context(), rdsiam.DSQLOptions{User: user, Host: "ABC.dsql.eu-west-1.on.aws.", Region: "eu-west-1", AssumeRole: awscfg.Role{ARN: roleARN}})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		c, err := source.Fetch(t.Context(), secrets.Current)
		if err != nil {
			t.Fatal(err)
		}
		wantExpiry(t, c, now, 5*time.Minute-10*time.Second)
		token, err := url.Parse("https://" + secretstest.Reveal(c))
		if err != nil {
			t.Fatal(err)
		}
		query := token.Query()
		if c.Username != user || token.Host != "abc.dsql.eu-west-1.on.aws" || token.Path != "/" || query.Get("Action") != action || query.Has("DBUser") {
			t.Errorf("%v, for %s, action %s", c, token.Host, query.Get("Action"))
		}
		if scope := query.Get("X-Amz-Credential"); !strings.HasPrefix(scope, "AKIDROLE") || !strings.HasSuffix(scope, "/eu-west-1/dsql/aws4_request") {
			t.Errorf("credential scope %q", scope)
		}
		if source.Kind() != "dsql" {
			t.Errorf("kind %q", source.Kind())
		}
		_, err = source.Fetch(t.Context(), secrets.Pending)
		wantError(t, err, secrets.NoVersion, "dsql user "+user+": tokens have no AWSPENDING")
	}
	for _, opts := range []rdsiam.DSQLOptions{{Host: "abc"}, {User: "app"}} {
		if _, err := rdsiam.NewDSQL(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "one is missing") {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

// wantExpiry checks that c expires life after now, which was up to a moment ago.
func wantExpiry(t *testing.T, c *secrets.Credential, now time.Time, life time.Duration) {
	t.Helper()
	if got := c.Expires.Sub(now); got < life-time.Second || got > life+5*time.Second {
		t.Errorf("expires in %s, want %s", got, life)
	}
}

func TestTokenDiesWithItsSigner(t *testing.T) {
	for name, tc := range map[string]struct {
		lives []time.Duration // of the role's credentials, in turn
		life  time.Duration   // of the token
		calls int64
	}{
		"long lived":                      {[]time.Duration{time.Hour}, 14 * time.Minute, 1},
		"dies before the token":           {[]time.Duration{5 * time.Minute}, 5*time.Minute - 10*time.Second, 1},
		"dies soon, a newer is to be had": {[]time.Duration{30 * time.Second, time.Hour}, 14 * time.Minute, 2},
		"dies soon, no newer":             {[]time.Duration{30 * time.Second}, 20 * time.Second, 2},
		"expired, a newer is to be had":   {[]time.Duration{-time.Minute, time.Hour}, 14 * time.Minute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			setEnvironment(t)
			calls := startSTS(t, tc.lives...)
			source, err := rdsiam.New(t.Context(), rdsiam.Options{User: "app", Endpoint: endpoint, AssumeRole: awscfg.Role{ARN: roleARN}})
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			c, err := source.Fetch(t.Context(), secrets.Current)
			if err != nil {
				t.Fatal(err)
			}
			wantExpiry(t, c, now, tc.life)
			if calls.Load() != tc.calls {
				t.Errorf("%d calls of AssumeRole, want %d", calls.Load(), tc.calls)
			}
			if signer := fmt.Sprintf("AKIDROLE%d%%2F", tc.calls-1); !strings.Contains(secretstest.Reveal(c), signer) {
				t.Errorf("not signed by %s", signer)
			}
		})
	}
}

func TestExpiredSigner(t *testing.T) {
	setEnvironment(t)
	calls := startSTS(t, -time.Minute)
	var observed int
	source, err := rdsiam.New(t.Context(), rdsiam.Options{User: "app", Endpoint: endpoint, AssumeRole: awscfg.Role{ARN: roleARN},
		Observe: func(string, error) { observed++ }})
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Fetch(t.Context(), secrets.Current)
	wantError(t, err, secrets.Unavailable, "iam user app: the AWS credentials to sign tokens with expire at ")
	if calls.Load() != 2 || observed != 2 {
		t.Errorf("%d calls of AssumeRole, %d observed, want 2", calls.Load(), observed)
	}
}

func TestFetchErrors(t *testing.T) {
	setEnvironment(t)
	source, err := rdsiam.New(t.Context(), rdsiam.Options{User: "app", Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	for _, stage := range []secrets.Stage{secrets.Pending, secrets.Previous} {
		_, err = source.Fetch(t.Context(), stage)
		wantError(t, err, secrets.NoVersion, string(stage))
	}

	denied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(403)
		fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>`)
	}))
	defer denied.Close()
	t.Setenv("AWS_ENDPOINT_URL_STS", denied.URL)
	source, err = rdsiam.New(t.Context(), rdsiam.Options{User: "app", Endpoint: endpoint, AssumeRole: awscfg.Role{ARN: roleARN}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Fetch(t.Context(), secrets.Current)
	wantError(t, err, secrets.Denied, "iam user app: assume role "+roleARN)

	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	source, err = rdsiam.New(t.Context(), rdsiam.Options{User: "app", Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Fetch(t.Context(), secrets.Current)
	wantError(t, err, secrets.Unavailable, "iam user app: no AWS credentials found")
}

func wantError(t *testing.T, err error, reason secrets.Reason, text string) {
	t.Helper()
	if err == nil || secrets.ReasonOf(err) != reason || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %s: %q", err, reason, text)
	}
}

func TestNewRefuses(t *testing.T) {
	setEnvironment(t)
	for want, opts := range map[string]rdsiam.Options{
		"no database user":          {Endpoint: endpoint},
		`"db" is not host:port`:     {User: "app", Endpoint: "db"},
		`":5432" is not host:port`:  {User: "app", Endpoint: ":5432"},
		"no AWS region: set region": {User: "app", Endpoint: "db.example:5432"},
	} {
		if _, err := rdsiam.New(t.Context(), opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

func TestRegion(t *testing.T) {
	for host, want := range map[string]string{
		"orders.abc123.eu-west-1.rds.amazonaws.com":              "eu-west-1",
		"orders.cluster-abc.us-east-2.rds.amazonaws.com":         "us-east-2",
		"orders.cluster-ro-abc.ap-southeast-1.rds.amazonaws.com": "ap-southeast-1",
		"p.proxy-abc.us-gov-west-1.rds.amazonaws.com":            "us-gov-west-1",
		"ORDERS.ABC.EU-WEST-1.RDS.AMAZONAWS.COM":                 "eu-west-1",
		"orders.abc.cn-north-1.rds.amazonaws.com.cn":             "cn-north-1",
		"orders.abc.rds.cn-northwest-1.amazonaws.com.cn":         "cn-northwest-1",
		"db.example.com": "",
		"eu-west-1.rds.amazonaws.com.evil.example": "",
		"": "",
	} {
		if got := rdsiam.Region(host); got != want {
			t.Errorf("Region(%q) = %q, want %q", host, got, want)
		}
	}
}

// TestTokenForAnotherServer has a token made for an instance of the cluster, and kept.
func TestTokenForAnotherServer(t *testing.T) {
	setEnvironment(t)
	calls := startSTS(t, time.Hour)
	source, err := rdsiam.New(t.Context(), rdsiam.Options{User: "app", Endpoint: endpoint, AssumeRole: awscfg.Role{ARN: roleARN}})
	if err != nil {
		t.Fatal(err)
	}
	inForce, err := source.Fetch(t.Context(), secrets.Current)
	if err != nil {
		t.Fatal(err)
	}
	at := func(host string) string {
		c, err := source.At(t.Context(), inForce, host, 5432)
		if err != nil {
			t.Fatal(err)
		}
		return secretstest.Reveal(c)
	}
	first := at("One.abc.eu-west-1.rds.amazonaws.com.")
	if !strings.HasPrefix(first, "one.abc.eu-west-1.rds.amazonaws.com:5432/?") {
		t.Errorf("token %s", strings.SplitAfter(first, "?")[0])
	}
	if again := at("one.abc.eu-west-1.rds.amazonaws.com"); again != first || calls.Load() != 1 {
		t.Errorf("not kept; %d calls", calls.Load())
	}
	if other := at("two.abc.eu-west-1.rds.amazonaws.com"); !strings.HasPrefix(other, "two.") {
		t.Error("a token for another server")
	}
	kept, err := source.At(t.Context(), inForce, "one.abc.eu-west-1.rds.amazonaws.com", 5432)
	if err != nil {
		t.Fatal(err)
	}
	inForce.Expires = kept.Expires.Add(time.Second) // made after a refusal
	if c, err := source.At(t.Context(), inForce, "one.abc.eu-west-1.rds.amazonaws.com", 5432); err != nil || c == kept {
		t.Errorf("a token is kept that is older than the one in force (%v)", err)
	}
}
