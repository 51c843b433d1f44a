package awssm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
	"github.com/credproxy/credproxy/secrets/awssm"
	"github.com/credproxy/credproxy/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf"
	roleARN   = "arn:aws:iam::210987654321:role/reader"
	password  = "Pl4nted-Passw0rd"
)

var _ secrets.Source = (*awssm.Source)(nil)

// request is what the server saw of one call.
type request struct {
	Action        string
	Authorization string
	Body          string
	SecretId      string
	VersionStage  string
}

// startAWS serves Secrets Manager and STS with answer, and points the SDK at it
// with fixed credentials and nothing else from this machine.
func startAWS(t *testing.T, answer func(w http.ResponseWriter, r request)) *[]request {
	t.Helper()
	var mu sync.Mutex
	seen := new([]request)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := request{Authorization: r.Header.Get("Authorization"), Body: string(body)}
		if target := r.Header.Get("X-Amz-Target"); target != "" {
			_, got.Action, _ = strings.Cut(target, ".")
			_ = json.Unmarshal(body, &got)
		} else if strings.Contains(got.Body, "Action=AssumeRole") {
			got.Action = "AssumeRole"
		}
		mu.Lock()
		*seen = append(*seen, got)
		mu.Unlock()
		answer(w, got)
	}))
	t.Cleanup(server.Close)
	cleanEnvironment(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key-of-the-test")
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	return seen
}

func cleanEnvironment(t *testing.T) {
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
}

func value(document, version string) func(http.ResponseWriter, request) {
	return func(w http.ResponseWriter, _ request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"ARN": secretARN, "SecretString": document, "VersionId": version})
	}
}

func failure(status int, code, message string) func(http.ResponseWriter, request) {
	return func(w http.ResponseWriter, r request) {
		w.WriteHeader(status)
		if r.Action == "AssumeRole" {
			fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code, message)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "Message": message})
	}
}

// observed collects the calls of an Observe hook as "operation reason".
type observed []string

func (o *observed) observe(operation string, err error) {
	result := "ok"
	if err != nil {
		result = string(secrets.ReasonOf(err))
	}
	*o = append(*o, operation+" "+result)
}

func TestFetch(t *testing.T) {
	seen := startAWS(t, value(`{"engine":"postgres","host":"h","port":5432,"username":"app","password":"`+password+`","dbname":"d"}`, "11111111-2222"))
	var calls observed
	source, err := awssm.New(t.Context(), awssm.Options{SecretID: secretARN, Observe: calls.observe})
	if err != nil {
		t.Fatal(err)
	}
	c, err := source.Fetch(t.Context(), secrets.Pending)
	if err != nil {
		t.Fatal(err)
	}
	if c.Username != "app" || secretstest.Reveal(c) != password || c.VersionID != "11111111-2222" || !c.Expires.IsZero() {
		t.Errorf("got %v, password %q", c, secretstest.Reveal(c))
	}
	if want := (secrets.Endpoint{Engine: "postgres", Host: "h", Port: 5432, Database: "d"}); c.Endpoint != want {
		t.Errorf("endpoint %+v", c.Endpoint)
	}
	if len(*seen) != 1 {
		t.Fatalf("%d requests", len(*seen))
	}
	got := (*seen)[0]
	if got.Action != "GetSecretValue" || got.SecretId != secretARN || got.VersionStage != "AWSPENDING" {
		t.Errorf("asked for %+v", got)
	}
	if !strings.Contains(got.Authorization, "AKIDTEST") || !strings.Contains(got.Authorization, "/eu-west-1/secretsmanager/") {
		t.Errorf("signed as %s", got.Authorization)
	}
	if fmt.Sprint(calls) != "[GetSecretValue ok]" {
		t.Errorf("observed %q", calls)
	}
	if source.Kind() != "secrets_manager" {
		t.Errorf("kind %q", source.Kind())
	}
}

func TestRegion(t *testing.T) {
	for name, tc := range map[string]struct {
		id, region, env, want string
	}{
		"of the ARN, over the environment": {id: secretARN, env: "us-east-1", want: "eu-west-1"},
		"of the configuration":             {id: secretARN, region: "eu-west-2", want: "eu-west-2"},
		"of the environment":               {id: "prod/orders", env: "us-east-1", want: "us-east-1"},
		"China":                            {id: "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:x", want: "cn-north-1"},
		"GovCloud":                         {id: "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:x", want: "us-gov-west-1"},
	} {
		t.Run(name, func(t *testing.T) {
			seen := startAWS(t, value(`{"username":"a","password":"b"}`, "v"))
			t.Setenv("AWS_REGION", tc.env)
			source, err := awssm.New(t.Context(), awssm.Options{SecretID: tc.id, Region: tc.region})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := source.Fetch(t.Context(), secrets.Current); err != nil {
				t.Fatal(err)
			}
			if got := (*seen)[0].Authorization; !strings.Contains(got, "/"+tc.want+"/secretsmanager/") {
				t.Errorf("signed as %s", got)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	cleanEnvironment(t)
	for want, opts := range map[string]awssm.Options{
		"no secret id":                 {},
		"no AWS region":                {SecretID: "prod/orders"},
		"not the ARN of a secret":      {SecretID: "arn:aws:s3:eu-west-1:123456789012:bucket"},
		"secret x: keys: JSON pointer": {SecretID: "x", Region: "eu-west-1", Keys: secrets.Keys{Username: "user"}},
	} {
		if _, err := awssm.New(t.Context(), opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
	_, err := awssm.New(t.Context(), awssm.Options{SecretID: "prod/orders"})
	if e, ok := errors.AsType[*secrets.Error](err); !ok || !strings.Contains(e.Hint, "Set region") {
		t.Errorf("without a region the advice is not to set one: %#v", err)
	}
}

func TestFetchErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter, request)
		reason secrets.Reason
		text   string
		calls  string
	}{
		"no secret": {failure(400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
			secrets.NotFound, "check its name and region", "[GetSecretValue not_found]"},
		"no such label": {failure(400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSPENDING"),
			secrets.NoVersion, "AWSPENDING", "[GetSecretValue no_version]"},
		"marked for deletion": {failure(400, "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion."),
			secrets.NotFound, "marked for deletion.; restore it", "[GetSecretValue not_found]"},
		"denied": {failure(400, "AccessDeniedException", "User: x is not authorized to perform: secretsmanager:GetSecretValue"),
			secrets.Denied, "; allow secretsmanager:GetSecretValue on this secret", "[GetSecretValue access_denied]"},
		"denied the key": {failure(400, "AccessDeniedException", "Access to KMS is not allowed"),
			secrets.Denied, "; allow kms:Decrypt", "[GetSecretValue access_denied]"},
		"not decrypted": {failure(400, "DecryptionFailure", "Secrets Manager can't decrypt the protected secret text"),
			secrets.Denied, "; allow kms:Decrypt", "[GetSecretValue access_denied]"},
		"unknown key id": {failure(400, "UnrecognizedClientException", "The security token included in the request is invalid."),
			secrets.Denied, "security token", "[GetSecretValue access_denied]"},
		"wrong key": {failure(400, "InvalidSignatureException", "The request signature we calculated does not match"),
			secrets.Denied, "signature", "[GetSecretValue access_denied]"},
		"wrong clock": {failure(400, "InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than 20261122T000000Z"),
			secrets.Unavailable, "this machine's clock is wrong", "[GetSecretValue unavailable]"},
		"expired token": {failure(400, "ExpiredTokenException", "The security token included in the request is expired"),
			secrets.Unavailable, "the AWS credentials have expired", "[GetSecretValue unavailable]"},
		"throttled": {failure(400, "ThrottlingException", "Rate exceeded"),
			secrets.Unavailable, "Rate exceeded", "[GetSecretValue unavailable]"},
		"internal": {failure(500, "InternalServiceError", "An error occurred on the server side."),
			secrets.Unavailable, "server side", "[GetSecretValue unavailable]"},
		"a load balancer's page": {func(w http.ResponseWriter, _ request) {
			http.Error(w, "<html>"+password, http.StatusServiceUnavailable)
		},
			secrets.Unavailable, "HTTP status 503", "[GetSecretValue unavailable]"},
		"an answer cut short": {func(w http.ResponseWriter, _ request) {
			fmt.Fprintf(w, `{"VersionId":"v","SecretString":"%s`, password)
		}, secrets.Unavailable, "not one of AWS's", "[GetSecretValue unavailable]"},
		"an answer of the wrong type": {func(w http.ResponseWriter, _ request) { fmt.Fprintf(w, `{"SecretString":{"x":"%s"}}`, password) },
			secrets.Unavailable, "not one of AWS's", "[GetSecretValue unavailable]"},
		"binary": {func(w http.ResponseWriter, _ request) { fmt.Fprint(w, `{"SecretBinary":"AAEC","VersionId":"v"}`) },
			secrets.Malformed, "it is binary", "[GetSecretValue ok]"},
		"no value": {func(w http.ResponseWriter, _ request) { fmt.Fprint(w, `{"VersionId":"v"}`) },
			secrets.Malformed, "holds no value", "[GetSecretValue ok]"},
		"no version id": {value(`{"username":"a","password":"`+password+`"}`, ""),
			secrets.Malformed, "names no version id", "[GetSecretValue ok]"},
		"not a document": {value(password, "v"),
			secrets.Malformed, "secret document: not valid JSON", "[GetSecretValue ok]"},
	} {
		t.Run(name, func(t *testing.T) {
			startAWS(t, tc.answer)
			var calls observed
			source, err := awssm.New(t.Context(), awssm.Options{SecretID: secretARN, Observe: calls.observe})
			if err != nil {
				t.Fatal(err)
			}
			_, err = source.Fetch(t.Context(), secrets.Current)
			wantError(t, err, tc.reason, "secret "+secretARN, tc.text)
			if fmt.Sprint(calls) != tc.calls {
				t.Errorf("observed %q, want %s", calls, tc.calls)
			}
		})
	}
}

// Errors name the version, once.
func TestErrorsNameTheVersion(t *testing.T) {
	startAWS(t, value(password, "v1"))
	source, err := awssm.New(t.Context(), awssm.Options{SecretID: secretARN})
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Fetch(t.Context(), secrets.Current)
	wantError(t, err, secrets.Malformed, "secret "+secretARN+" (AWSCURRENT, version v1): ")
	_, err = source.FetchVersion(t.Context(), "v1")
	wantError(t, err, secrets.Malformed, "secret "+secretARN+" (version v1): ")
}

func wantError(t *testing.T, err error, reason secrets.Reason, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if _, ok := errors.AsType[*secrets.Error](err); !ok {
		t.Errorf("%T is not a *secrets.Error", err)
	}
	if secrets.ReasonOf(err) != reason {
		t.Errorf("reason %s, want %s: %v", secrets.ReasonOf(err), reason, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	if shown := fmt.Sprintf("%v %+v", err, errors.Unwrap(err)); strings.Contains(shown, password) || strings.Contains(shown, "key-of-the-test") {
		t.Errorf("shows a secret: %s", shown)
	}
}

func TestTwoAttempts(t *testing.T) {
	n := 0
	seen := startAWS(t, func(w http.ResponseWriter, r request) {
		if n++; n == 1 {
			failure(500, "InternalServiceError", "once")(w, r)
			return
		}
		value(`{"username":"a","password":"b"}`, "v")(w, r)
	})
	source, err := awssm.New(t.Context(), awssm.Options{SecretID: secretARN})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Fetch(t.Context(), secrets.Current); err != nil {
		t.Fatal(err)
	}
	if len(*seen) != 2 {
		t.Errorf("%d requests", len(*seen))
	}
}

func TestDeadline(t *testing.T) {
	release := make(chan struct{})
	startAWS(t, func(http.ResponseWriter, request) { <-release })
	t.Cleanup(func() { close(release) }) // before the server waits for its requests
	source, err := awssm.New(t.Context(), awssm.Options{SecretID: secretARN})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = source.Fetch(ctx, secrets.Current)
	wantError(t, err, secrets.Unavailable, "no answer in time")
}

func TestNoCredentials(t *testing.T) {
	seen := startAWS(t, value(`{}`, "v"))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	for _, role := range []awscfg.Role{{}, {ARN: roleARN}} {
		source, err := awssm.New(t.Context(), awssm.Options{SecretID: secretARN, AssumeRole: role})
		if err != nil {
			t.Fatal(err)
		}
		_, err = source.Fetch(t.Context(), secrets.Current)
		wantError(t, err, secrets.Unavailable, "secret "+secretARN+": no AWS credentials found: give the task")
		if hint := fault.As(err).Hint; !strings.Contains(hint, "AWS_PROFILE") {
			t.Errorf("clients hear of something else: %s", hint)
		}
	}
	if len(*seen) != 0 {
		t.Errorf("called AWS: %+v", *seen)
	}
}

// The SDK quotes what a credential process printed.
func TestCredentialProcessStaysSecret(t *testing.T) {
	startAWS(t, value(`{}`, "v"))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("[default]\ncredential_process = echo key-of-the-test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	source, err := awssm.New(t.Context(), awssm.Options{SecretID: secretARN})
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Fetch(t.Context(), secrets.Current)
	wantError(t, err, secrets.Unavailable, "credential_process")
}

// assumed answers AssumeRole with credentials that live for an hour.
func assumed(w http.ResponseWriter) {
	fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
		<SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

func TestAssumeRole(t *testing.T) {
	seen := startAWS(t, func(w http.ResponseWriter, r request) {
		if r.Action == "AssumeRole" {
			assumed(w)
			return
		}
		value(`{"username":"a","password":"b"}`, "v")(w, r)
	})
	var calls observed
	source, err := awssm.New(t.Context(), awssm.Options{SecretID: secretARN, Observe: calls.observe,
		AssumeRole: awscfg.Role{ARN: roleARN, ExternalID: "ext-1"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := source.Fetch(t.Context(), secrets.Current); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(calls) != "[AssumeRole ok GetSecretValue ok GetSecretValue ok]" {
		t.Errorf("observed %q", calls)
	}
	sts := (*seen)[0]
	for _, want := range []string{"ExternalId=ext-1", "RoleSessionName=credproxy", "role%2Freader"} {
		if !strings.Contains(sts.Body, want) {
			t.Errorf("%s: no %s", sts.Body, want)
		}
	}
	if !strings.Contains(sts.Authorization, "AKIDTEST") || !strings.Contains((*seen)[1].Authorization, "AKIDROLE") {
		t.Errorf("signed as %s and %s", sts.Authorization, (*seen)[1].Authorization)
	}
}

func TestAssumeRoleErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		code   string
		status int
		reason secrets.Reason
		text   string
	}{
		"denied":    {"AccessDenied", 403, secrets.Denied, "allow sts:AssumeRole and sts:TagSession on the role"},
		"throttled": {"Throttling", 400, secrets.Unavailable, "Throttling"},
		"expired":   {"ExpiredToken", 403, secrets.Unavailable, "the AWS credentials have expired"},
	} {
		t.Run(name, func(t *testing.T) {
			startAWS(t, failure(tc.status, tc.code, "message"))
			var calls observed
			source, err := awssm.New(t.Context(), awssm.Options{SecretID: secretARN, Observe: calls.observe,
				AssumeRole: awscfg.Role{ARN: roleARN}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = source.Fetch(t.Context(), secrets.Current)
			wantError(t, err, tc.reason, "secret "+secretARN+": assume role "+roleARN, tc.text)
			if want := "[AssumeRole " + string(tc.reason) + "]"; fmt.Sprint(calls) != want {
				t.Errorf("observed %q", calls)
			}
		})
	}
}

// After ExpiredTokenException the role is assumed anew.
func TestExpiredTokenRenews(t *testing.T) {
	gets := 0
	startAWS(t, func(w http.ResponseWriter, r request) {
		if r.Action == "AssumeRole" {
			assumed(w)
			return
		}
		if gets++; gets == 1 {
			failure(400, "ExpiredTokenException", "expired")(w, r)
			return
		}
		value(`{"username":"a","password":"b"}`, "v")(w, r)
	})
	var calls observed
	source, err := awssm.New(t.Context(), awssm.Options{SecretID: secretARN, Observe: calls.observe, AssumeRole: awscfg.Role{ARN: roleARN}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Fetch(t.Context(), secrets.Current); err == nil {
		t.Fatal("no error")
	}
	if _, err := source.Fetch(t.Context(), secrets.Current); err != nil {
		t.Fatal(err)
	}
	if want := "[AssumeRole ok GetSecretValue unavailable AssumeRole ok GetSecretValue ok]"; fmt.Sprint(calls) != want {
		t.Errorf("observed %q", calls)
	}
}
