package awsstub_test

import (
	"cmp"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	dsql "github.com/aws/aws-sdk-go-v2/feature/dsql/auth"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"

	"github.com/credproxy/credproxy/integration/awsstub"
)

const (
	dbHost = "orders.cluster-abc.eu-west-1.rds.amazonaws.com"
	dbPort = 5432
	dbUser = "app"
)

func TestVerifyRDSToken(t *testing.T) {
	deny := func(action, _ string) bool { return action != "rds-db:connect" }
	ids := []awsstub.Identity{testKey,
		{AccessKeyID: "ASIATEMP", SecretAccessKey: "secret", SessionToken: "token/+=", Expires: time.Now().Add(5 * time.Minute)},
		{AccessKeyID: "AKIADENIED", SecretAccessKey: "secret", Allow: deny}}
	s := start(t, awsstub.Options{Identities: ids})
	set := func(name, value string) func(url.Values) { return func(q url.Values) { q.Set(name, value) } }
	tests := []struct {
		name                                string
		key, secret, session, region, dbUse string           // sign with these instead
		endpoint                            string           // instead of the database's
		query                               func(url.Values) // changes the signed token
		token                               func(string) string
		later                               time.Duration
		want                                string // part of the error; "" for a good token
	}{
		{name: "good"},
		{name: "good to the last second", later: 14*time.Minute + 59*time.Second},
		{name: "good, session credentials", key: "ASIATEMP", session: "token/+="},
		{name: "good, slash before the query", token: func(tok string) string { return strings.Replace(tok, "?", "/?", 1) }},
		{name: "empty", token: func(string) string { return "" }, want: "endpoint"},
		{name: "password", token: func(string) string { return "hunter2" }, want: "endpoint"},
		{name: "huge", token: func(tok string) string { return tok + strings.Repeat("x", 9000) }, want: "over 8192"},
		{name: "scheme", token: func(tok string) string { return "https://" + tok }, want: "scheme"},
		{name: "other path", token: func(tok string) string { return strings.Replace(tok, "?", "/x?", 1) }, want: "host:port/?query"},
		{name: "control character", token: func(tok string) string { return tok + "\n" }, want: "not a URL"},
		{name: "twice the same parameter", token: func(tok string) string { return tok + "&DBUser=app" }, want: "more than once"},
		{name: "other host", endpoint: "tunnel.example:5432", want: `endpoint "tunnel.example:5432"`},
		{name: "other port", endpoint: dbHost + ":3306", want: "endpoint"},
		{name: "other user", dbUse: "root", want: `user "root"`},
		{name: "user swapped after signing", dbUse: "root", query: set("DBUser", dbUser), want: "signature does not match"},
		{name: "other action", query: set("Action", "delete"), want: "action"},
		{name: "other algorithm", query: set("X-Amz-Algorithm", "none"), want: "algorithm"},
		{name: "valid too long", query: set("X-Amz-Expires", "901"), want: "X-Amz-Expires"},
		{name: "no lifetime", query: func(q url.Values) { q.Del("X-Amz-Expires") }, want: "X-Amz-Expires"},
		{name: "lifetime changed", query: set("X-Amz-Expires", "800"), want: "signature does not match"},
		{name: "no date", query: func(q url.Values) { q.Del("X-Amz-Date") }, want: "X-Amz-Date"},
		{name: "more headers", query: set("X-Amz-SignedHeaders", "host;x"), want: "signed headers"},
		{name: "expired", later: 15 * time.Minute, want: "token expired at"},
		{name: "not yet valid", later: -6 * time.Minute, want: "not valid yet"},
		{name: "other region", region: "us-east-1", want: `region "us-east-1"`},
		{name: "other service", query: func(q url.Values) {
			q.Set("X-Amz-Credential", strings.Replace(q.Get("X-Amz-Credential"), "rds-db", "rds", 1))
		}, want: `service "rds"`},
		{name: "broken credential", query: set("X-Amz-Credential", "x"), want: "X-Amz-Credential"},
		{name: "unknown key", key: "AKIAOTHER", want: "unknown access key"},
		{name: "wrong secret", secret: "guess", want: "signature does not match"},
		{name: "no session token", key: "ASIATEMP", want: "session token"},
		{name: "credentials die before the token", key: "ASIATEMP", session: "token/+=", later: 6 * time.Minute, want: "credentials that signed the token expired"},
		{name: "not allowed", key: "AKIADENIED", want: "is not authorized to perform: rds-db:connect"},
		{name: "no signature", query: func(q url.Values) { q.Del("X-Amz-Signature") }, want: "signature does not match"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			or := func(v, normal string) string {
				if v != "" {
					return v
				}
				return normal
			}
			creds := credentials.NewStaticCredentialsProvider(or(tt.key, testKey.AccessKeyID), or(tt.secret, "secret"), tt.session)
			token, err := auth.BuildAuthToken(t.Context(), or(tt.endpoint, dbHost+":5432"), or(tt.region, "eu-west-1"), or(tt.dbUse, dbUser), creds)
			if err != nil {
				t.Fatal(err)
			}
			if tt.query != nil {
				endpoint, raw, _ := strings.Cut(token, "?")
				q, err := url.ParseQuery(raw)
				if err != nil {
					t.Fatal(err)
				}
				tt.query(q)
				token = endpoint + "?" + q.Encode()
			}
			if tt.token != nil {
				token = tt.token(token)
			}
			err = s.VerifyRDSToken(token, dbHost, dbPort, dbUser, time.Now().Add(tt.later))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("good token refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want …%s…", err, tt.want)
			}
		})
	}
}

func TestVerifyDSQLToken(t *testing.T) {
	const (
		host = "abc123.dsql.eu-west-1.on.aws"
		role = "arn:aws:iam::" + awsstub.AccountID + ":role/shop"
	)
	s := start(t, awsstub.Options{Identities: []awsstub.Identity{testKey,
		{AccessKeyID: "ASIAROLE", SecretAccessKey: "secret", ARN: "arn:aws:sts::" + awsstub.AccountID + ":assumed-role/shop/session"},
		{AccessKeyID: "AKIADENIED", SecretAccessKey: "secret", Allow: func(action, resource string) bool {
			return action == "dsql:DbConnect" || resource != "arn:aws:dsql:eu-west-1:"+awsstub.AccountID+":cluster/abc123"
		}},
	}})
	for name, tt := range map[string]struct {
		key, endpoint, user string // default: the role's, host, app
		rds                 bool
		later               time.Duration
		want                string
	}{
		"good":                     {},
		"good, admin":              {user: "admin"},
		"admin's, for another":     {user: "admin app", want: `action is "DbConnectAdmin", not DbConnect`},
		"another's, for admin":     {user: "app admin", want: `action is "DbConnect", not DbConnectAdmin`},
		"not granted":              {key: testKey.AccessKeyID, want: `role "app" is not granted to arn:aws:iam::` + awsstub.AccountID + ":user/app"},
		"not allowed":              {key: "AKIADENIED", user: "admin", want: "not authorized to perform: dsql:DbConnectAdmin"},
		"another cluster":          {endpoint: "xyz.dsql.eu-west-1.on.aws", want: `endpoint "xyz.dsql.eu-west-1.on.aws"`},
		"expired":                  {later: 15 * time.Minute, want: "token expired at"},
		"a token of RDS":           {rds: true, endpoint: host + ":5432", want: "endpoint"},
		"a token of RDS, no port":  {rds: true, want: `action is "connect", not DbConnect`},
		"signed with a wrong key":  {key: "ASIAROLE wrong", want: "signature does not match"},
		"signed by an unknown key": {key: "AKIAOTHER", want: "unknown access key"},
	} {
		t.Run(name, func(t *testing.T) {
			key, secret, _ := strings.Cut(cmp.Or(tt.key, "ASIAROLE"), " ")
			creds := credentials.NewStaticCredentialsProvider(key, cmp.Or(secret, "secret"), "")
			signFor, user, other := strings.Cut(cmp.Or(tt.user, "app"), " ")
			if !other {
				user = signFor
			}
			generate := dsql.GenerateDbConnectAuthToken
			if signFor == "admin" {
				generate = dsql.GenerateDBConnectAdminAuthToken
			}
			token, err := generate(t.Context(), cmp.Or(tt.endpoint, host), "eu-west-1", creds)
			if tt.rds {
				token, err = auth.BuildAuthToken(t.Context(), host+":5432", "eu-west-1", "app", creds)
				if tt.endpoint == "" {
					token = strings.Replace(token, ":5432", "", 1)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			err = s.VerifyDSQLToken(token, host, user, []string{role}, time.Now().Add(tt.later))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("good token refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want …%s…", err, tt.want)
			}
		})
	}
}
