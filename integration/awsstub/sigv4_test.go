package awsstub_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/credproxy/credproxy/integration/awsstub"
)

var testKey = awsstub.Identity{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret", ARN: "arn:aws:iam::123456789012:user/app"}

// signing is what a raw request is signed with; tests spoil one field of it.
type signing struct {
	key, secret, token, region, service string
	at                                  time.Time
	spoil                               func(*http.Request) // after signing
}

// send posts a signed call to Secrets Manager, or to STS, and returns status and body.
func send(t *testing.T, s *awsstub.Server, sts bool, sig signing) (int, string) {
	t.Helper()
	body := `{"SecretId":"a"}`
	if sts {
		body = "Action=GetCallerIdentity&Version=2011-06-15"
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !sts {
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		req.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	}
	sum := sha256.Sum256([]byte(body))
	creds := aws.Credentials{AccessKeyID: sig.key, SecretAccessKey: sig.secret, SessionToken: sig.token}
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, hex.EncodeToString(sum[:]), sig.service, sig.region, sig.at); err != nil {
		t.Fatal(err)
	}
	if sig.spoil != nil {
		sig.spoil(req)
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func replaceAuth(pattern, with string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", regexp.MustCompile(pattern).ReplaceAllString(r.Header.Get("Authorization"), with))
	}
}

func TestSignatures(t *testing.T) {
	now := time.Now().UTC()
	s := start(t, awsstub.Options{
		Identities: []awsstub.Identity{testKey,
			{AccessKeyID: "ASIATEMP", SecretAccessKey: "secret", SessionToken: "token"},
			{AccessKeyID: "ASIADEAD", SecretAccessKey: "secret", SessionToken: "token", Expires: now.Add(-time.Second)}},
		Secrets: map[string]string{"a": "value"},
		Now:     func() time.Time { return now },
	})
	tests := []struct {
		name          string
		change        func(*signing)
		code, message string // of the JSON protocol; "" for success
		query         string // code of the query protocol
		queryStatus   int
	}{
		{name: "right", change: func(*signing) {}},
		{name: "right, with session token", change: func(g *signing) { g.key, g.token = "ASIATEMP", "token" }},
		{name: "right, clock off by 4 minutes", change: func(g *signing) { g.at = now.Add(4 * time.Minute) }},
		{"no Authorization", func(g *signing) { g.spoil = func(r *http.Request) { r.Header.Del("Authorization") } },
			"MissingAuthenticationTokenException", "Missing Authentication Token", "MissingAuthenticationToken", 403},
		{"no signature", func(g *signing) { g.spoil = replaceAuth(`, Signature=.*`, "") },
			"IncompleteSignatureException", "requires 'Signature' parameter", "IncompleteSignature", 400},
		{"no credential", func(g *signing) { g.spoil = replaceAuth(`Credential=[^,]*, `, "") },
			"IncompleteSignatureException", "requires 'Credential' parameter", "IncompleteSignature", 400},
		{"short credential", func(g *signing) { g.spoil = replaceAuth(`/aws4_request`, "") },
			"IncompleteSignatureException", "5 slash-delimited elements", "IncompleteSignature", 400},
		{"no date", func(g *signing) { g.spoil = func(r *http.Request) { r.Header.Del("X-Amz-Date") } },
			"IncompleteSignatureException", "'X-Amz-Date'", "IncompleteSignature", 400},
		{"other scheme", func(g *signing) { g.spoil = func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") } },
			"IncompleteSignatureException", "Unsupported AWS 'algorithm'", "IncompleteSignature", 400},
		{"unknown key", func(g *signing) { g.key = "AKIAOTHER" },
			"UnrecognizedClientException", "security token included in the request is invalid", "InvalidClientTokenId", 403},
		{"wrong session token", func(g *signing) { g.key, g.token = "ASIATEMP", "nekot" },
			"UnrecognizedClientException", "is invalid", "InvalidClientTokenId", 403},
		{"no session token", func(g *signing) { g.key = "ASIATEMP" },
			"UnrecognizedClientException", "is invalid", "InvalidClientTokenId", 403},
		{"needless session token", func(g *signing) { g.token = "token" },
			"UnrecognizedClientException", "is invalid", "InvalidClientTokenId", 403},
		{"expired credentials", func(g *signing) { g.key, g.token = "ASIADEAD", "token" },
			"ExpiredTokenException", "is expired", "ExpiredToken", 403},
		{"wrong secret key", func(g *signing) { g.secret = "guess" },
			"InvalidSignatureException", "does not match the signature you provided", "SignatureDoesNotMatch", 403},
		{"too old", func(g *signing) { g.at = now.Add(-6 * time.Minute) },
			"InvalidSignatureException", "Signature expired", "SignatureDoesNotMatch", 403},
		{"too new", func(g *signing) { g.at = now.Add(6 * time.Minute) },
			"InvalidSignatureException", "Signature not yet current", "SignatureDoesNotMatch", 403},
		{"other region", func(g *signing) { g.region = "us-east-1" },
			"InvalidSignatureException", "valid region", "SignatureDoesNotMatch", 403},
		{"other service", func(g *signing) { g.service = "ssm" },
			"InvalidSignatureException", "correct service", "SignatureDoesNotMatch", 403},
		{"scope of another day", func(g *signing) { g.spoil = replaceAuth(`/20\d{6}/`, "/20200101/") },
			"InvalidSignatureException", "does not match YYYYMMDD", "SignatureDoesNotMatch", 403},
		{"body changed", func(g *signing) {
			g.spoil = func(r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(strings.NewReader(string(body[:len(body)-1]) + "x"))
			}
		}, "InvalidSignatureException", "does not match the signature you provided", "SignatureDoesNotMatch", 403},
		{"payload hash is not the body's", func(g *signing) {
			g.spoil = func(r *http.Request) {
				r.Header.Set("X-Amz-Content-Sha256", strings.Repeat("0", 64))
				replaceAuth(`;x-amz-date`, ";x-amz-content-sha256;x-amz-date")(r)
			}
		}, "InvalidSignatureException", "x-amz-content-sha256", "SignatureDoesNotMatch", 403},
		{"signed header changed", func(g *signing) {
			g.spoil = func(r *http.Request) { r.Header.Set("Content-Type", "application/x-amz-json-1.1; x=y") }
		}, "InvalidSignatureException", "does not match the signature you provided", "SignatureDoesNotMatch", 403},
		{"header of AWS unsigned", func(g *signing) { g.spoil = func(r *http.Request) { r.Header.Set("X-Amz-Extra", "1") } },
			"InvalidSignatureException", "'x-amz-extra' must be a 'SignedHeader'", "SignatureDoesNotMatch", 403},
		{"host unsigned", func(g *signing) { g.spoil = replaceAuth(`host;`, "") },
			"InvalidSignatureException", "'host' must be a 'SignedHeader'", "SignatureDoesNotMatch", 403},
		{"other host", func(g *signing) { g.spoil = func(r *http.Request) { r.Host = "example.com" } },
			"InvalidSignatureException", "does not match the signature you provided", "SignatureDoesNotMatch", 403},
		{"query added", func(g *signing) { g.spoil = func(r *http.Request) { r.URL.RawQuery = "x=1" } },
			"InvalidSignatureException", "does not match the signature you provided", "SignatureDoesNotMatch", 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, sts := range []bool{false, true} {
				sig := signing{key: testKey.AccessKeyID, secret: testKey.SecretAccessKey, region: "eu-west-1", service: "secretsmanager", at: now}
				if sts {
					sig.service = "sts"
				}
				tt.change(&sig)
				status, body := send(t, s, sts, sig)
				wantStatus, want := 200, `"SecretString":"value"`
				switch {
				case sts && tt.code == "":
					want = "<Account>123456789012</Account>"
				case sts:
					wantStatus, want = tt.queryStatus, "<Code>"+tt.query+"</Code>"
				case tt.code != "":
					wantStatus, want = 400, `"__type":"`+tt.code+`"`
				}
				if status != wantStatus || !strings.Contains(body, want) {
					t.Errorf("sts %v: %d %s, want %d …%s…", sts, status, body, wantStatus, want)
				}
				if !sts && !strings.Contains(strings.ReplaceAll(body, `\u0026`, "&"), tt.message) {
					t.Errorf("%s\nlacks %q", body, tt.message)
				}
			}
		})
	}
}

func TestRawAnswers(t *testing.T) {
	s := start(t, awsstub.Options{Identities: []awsstub.Identity{testKey}})
	tests := []struct {
		name, method, path, target, body string
		status                           int
		want                             string
	}{
		{"unknown target", "POST", "/", "secretsmanager.GetSecretVaule", "{}", 400, `"__type":"UnknownOperationException"`},
		{"operation of another service", "POST", "/", "secretsmanager.AssumeRole", "{}", 400, `"__type":"UnknownOperationException"`},
		{"unknown action", "POST", "/", "", "Action=Nothing", 400, "<Code>InvalidAction</Code>"},
		{"unknown path", "GET", "/nothing", "", "", 404, `"code":"UnknownOperationException"`},
		{"body over the cap", "POST", "/", "secretsmanager.GetSecretValue", strings.Repeat("x", 512<<10+1), 413, "RequestEntityTooLarge"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, s.URL()+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.target != "" {
				req.Header.Set("X-Amz-Target", tt.target)
			}
			if status, body := do(t, req); status != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("%d %s, want %d …%s…", status, body, tt.status, tt.want)
			}
		})
	}
}
