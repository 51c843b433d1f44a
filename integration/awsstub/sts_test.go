package awsstub_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/credproxy/credproxy/integration/awsstub"
)

const readerRole = "arn:aws:iam::123456789012:role/team/reader"

func TestAssumeRole(t *testing.T) {
	deny := func(string, string) bool { return false }
	tests := []struct {
		name          string
		role          awsstub.Role
		caller        func(action, resource string) bool
		external      string
		session       string
		duration      int32
		lifetime      time.Duration
		code, message string
	}{
		{name: "plain", role: awsstub.Role{ARN: readerRole}, lifetime: time.Hour},
		{name: "duration asked", role: awsstub.Role{ARN: readerRole}, duration: 900, lifetime: 15 * time.Minute},
		{name: "lifetime of the role", role: awsstub.Role{ARN: readerRole, Lifetime: time.Minute}, duration: 900, lifetime: time.Minute},
		{name: "external id", role: awsstub.Role{ARN: readerRole, ExternalID: "x-1"}, external: "x-1", lifetime: time.Hour},
		{name: "wrong external id", role: awsstub.Role{ARN: readerRole, ExternalID: "x-1"}, external: "x-2",
			code: "AccessDenied", message: "is not authorized to perform: sts:AssumeRole on resource: " + readerRole},
		{name: "no external id", role: awsstub.Role{ARN: readerRole, ExternalID: "x-1"}, code: "AccessDenied", message: readerRole},
		{name: "trusted", role: awsstub.Role{ARN: readerRole, Trusts: []string{testKey.ARN}}, lifetime: time.Hour},
		{name: "not trusted", role: awsstub.Role{ARN: readerRole, Trusts: []string{"arn:aws:iam::123456789012:user/other"}}, code: "AccessDenied", message: testKey.ARN},
		{name: "unknown role", role: awsstub.Role{ARN: readerRole + "x"}, code: "AccessDenied", message: readerRole},
		{name: "caller may not", role: awsstub.Role{ARN: readerRole}, caller: deny, code: "AccessDenied", message: "no identity-based policy allows the sts:AssumeRole action"},
		{name: "bad session name", role: awsstub.Role{ARN: readerRole}, session: "a b", code: "ValidationError", message: "roleSessionName"},
		{name: "duration too short", role: awsstub.Role{ARN: readerRole}, duration: 60, code: "ValidationError", message: "durationSeconds"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key := testKey
			key.Allow = tt.caller
			s := start(t, awsstub.Options{Identities: []awsstub.Identity{key}, Roles: []awsstub.Role{tt.role}})
			in := &sts.AssumeRoleInput{RoleArn: aws.String(readerRole), RoleSessionName: aws.String("credproxy")}
			if tt.session != "" {
				in.RoleSessionName = &tt.session
			}
			if tt.external != "" {
				in.ExternalId = &tt.external
			}
			if tt.duration != 0 {
				in.DurationSeconds = &tt.duration
			}
			out, err := sts.NewFromConfig(sdk(t, s.Env())).AssumeRole(t.Context(), in)
			if tt.code != "" {
				wantAPIError(t, err, tt.code, tt.message)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(*out.Credentials.Expiration); left > tt.lifetime || left < tt.lifetime-10*time.Second {
				t.Errorf("expires in %s, want %s", left, tt.lifetime)
			}
			if want := "arn:aws:sts::123456789012:assumed-role/reader/credproxy"; *out.AssumedRoleUser.Arn != want {
				t.Errorf("assumed %s, want %s", *out.AssumedRoleUser.Arn, want)
			}
		})
	}
}

// The role may read what the key that assumed it may not, until its credentials end.
func TestAssumedCredentialsWork(t *testing.T) {
	key := testKey
	key.Allow = func(action, _ string) bool { return action == "sts:AssumeRole" }
	s := start(t, awsstub.Options{Identities: []awsstub.Identity{key}, Roles: []awsstub.Role{{ARN: readerRole}}, Secrets: map[string]string{"a": "value"}})
	cfg := sdk(t, s.Env())
	_, err := get(t.Context(), sm.NewFromConfig(cfg), "a")
	wantAPIError(t, err, "AccessDeniedException", testKey.ARN)

	cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), readerRole))
	if _, err := get(t.Context(), sm.NewFromConfig(cfg), "a"); err != nil {
		t.Fatal(err)
	}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || !strings.HasPrefix(*who.Arn, "arn:aws:sts::123456789012:assumed-role/reader/") || *who.Account != awsstub.AccountID {
		t.Errorf("caller %v, %v", who, err)
	}
	creds, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.ExpireCredentials(creds.AccessKeyID)
	_, err = get(t.Context(), sm.NewFromConfig(cfg), "a")
	wantAPIError(t, err, "ExpiredTokenException", "is expired")
}

func TestWebIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	s := start(t, awsstub.Options{Roles: []awsstub.Role{{ARN: readerRole, WebIdentityToken: "header.claims.sig"}}, Secrets: map[string]string{"a": "value"}})
	tests := []struct{ name, token, role, code string }{
		{"right", "header.claims.sig", readerRole, ""},
		{"wrong token", "header.claims.gis", readerRole, "InvalidIdentityToken"},
		{"role without a provider", "header.claims.sig", awsstub.TaskRole, "AccessDenied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(tt.token), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg := sdk(t, s.WebIdentityEnv(tt.role, file), config.WithRetryMaxAttempts(1))
			_, err := get(t.Context(), sm.NewFromConfig(cfg), "a")
			if tt.code != "" {
				wantAPIError(t, err, tt.code, "")
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
