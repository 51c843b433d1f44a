package awsstub_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/credproxy/credproxy/integration/awsstub"
)

func TestFaultsAnswerAsAWSDoes(t *testing.T) {
	tests := []struct {
		name   string
		kind   awsstub.FaultKind
		code   string
		status int
		query  string
		qs     int
	}{
		{"throttle", awsstub.Throttle, "ThrottlingException", 400, "Throttling", 400},
		{"internal error", awsstub.InternalError, "InternalServiceError", 500, "InternalFailure", 500},
		{"unavailable", awsstub.Unavailable, "ServiceUnavailableException", 503, "ServiceUnavailable", 503},
		{"access denied", awsstub.AccessDenied, "AccessDeniedException", 400, "AccessDenied", 403},
		{"key denied", awsstub.KMSAccessDenied, "AccessDeniedException", 400, "AccessDenied", 403},
		{"decryption", awsstub.DecryptionFailure, "DecryptionFailure", 400, "DecryptionFailure", 400},
		{"expired", awsstub.ExpiredToken, "ExpiredTokenException", 400, "ExpiredToken", 403},
	}
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "value"}})
	cfg := sdk(t, s.Env())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.Inject(awsstub.Any, awsstub.Fault{Kind: tt.kind, Times: 2})
			_, err := get(t.Context(), sm.NewFromConfig(cfg), "a")
			wantAPIError(t, err, tt.code, "")
			wantStatus(t, err, tt.status)
			_, err = sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
			wantAPIError(t, err, tt.query, "")
			wantStatus(t, err, tt.qs)
			if _, err := get(t.Context(), sm.NewFromConfig(cfg), "a"); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}

func wantStatus(t *testing.T, err error, status int) {
	t.Helper()
	var resp *awshttp.ResponseError
	if !errors.As(err, &resp) || resp.HTTPStatusCode() != status {
		t.Errorf("%v, want status %d", err, status)
	}
}

func TestFaultsComeInOrderAndEnd(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "value"}})
	c := client(t, s)
	s.Inject("GetSecretValue", awsstub.Fault{Kind: awsstub.Throttle, Times: 2})
	s.Inject("GetSecretValue", awsstub.Fault{Kind: awsstub.AccessDenied})
	s.Inject(awsstub.Any, awsstub.Fault{Kind: awsstub.InternalError})
	for _, code := range []string{"ThrottlingException", "ThrottlingException", "AccessDeniedException", "AccessDeniedException"} {
		_, err := get(t.Context(), c, "a")
		wantAPIError(t, err, code, "")
	}
	s.ClearFaults("GetSecretValue")
	_, err := get(t.Context(), c, "a")
	wantAPIError(t, err, "InternalServiceError", "")
	s.ClearFaults()
	if _, err := get(t.Context(), c, "a"); err != nil {
		t.Error(err)
	}
}

type noBackoff struct{}

func (noBackoff) BackoffDelay(int, error) (time.Duration, error) { return 0, nil }

func TestSDKRetriesThroughAFault(t *testing.T) {
	for name, kind := range map[string]awsstub.FaultKind{"throttle": awsstub.Throttle, "503": awsstub.Unavailable, "drop": awsstub.Drop} {
		t.Run(name, func(t *testing.T) {
			s := start(t, awsstub.Options{Secrets: map[string]string{"a": "value"}})
			s.Inject("GetSecretValue", awsstub.Fault{Kind: kind, Times: 1})
			c := sm.NewFromConfig(sdk(t, s.Env(), config.WithRetryMaxAttempts(0), config.WithRetryer(func() aws.Retryer {
				return retry.NewStandard(func(o *retry.StandardOptions) { o.Backoff = noBackoff{} })
			})))
			if _, err := get(t.Context(), c, "a"); err != nil {
				t.Fatal(err)
			}
			if n := s.Calls("GetSecretValue"); n != 2 {
				t.Errorf("%d calls, want 2", n)
			}
		})
	}
}

func TestHangDropAndDelay(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "value"}})
	c := client(t, s)

	s.Inject("GetSecretValue", awsstub.Fault{Kind: awsstub.Drop, Times: 1})
	if _, err := get(t.Context(), c, "a"); !errors.Is(err, io.EOF) {
		t.Errorf("drop: %v, want EOF", err)
	}

	s.Inject("GetSecretValue", awsstub.Fault{Delay: 50 * time.Millisecond, Times: 1})
	begin := time.Now()
	if _, err := get(t.Context(), c, "a"); err != nil || time.Since(begin) < 50*time.Millisecond {
		t.Errorf("delay: %v after %s", err, time.Since(begin))
	}

	s.Inject("GetSecretValue", awsstub.Fault{Kind: awsstub.Hang, Times: 1})
	s.Inject("GetSecretValue", awsstub.Fault{Delay: time.Hour, Times: 1})
	for range 2 {
		s.ResetCalls()
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := get(ctx, c, "a")
			done <- err
		}()
		waitFor(t, "the call to hang", func() bool { return len(s.Log()) == 1 && s.Log()[0].Result == awsstub.ResultPending })
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("client that left: %v", err)
		}
		waitFor(t, "the server to notice", func() bool { return s.Log()[0].Result == awsstub.ResultHung })
	}
}

// Close is not held up by calls that hang, and their clients see the connection end.
func TestCloseReleasesHangingCalls(t *testing.T) {
	s := start(t, awsstub.Options{})
	s.Inject(awsstub.Any, awsstub.Fault{Kind: awsstub.Hang})
	c := client(t, s)
	done := make(chan error)
	go func() {
		_, err := c.DescribeSecret(context.Background(), &sm.DescribeSecretInput{SecretId: aws.String("a")})
		done <- err
	}()
	waitFor(t, "the call to hang", func() bool { return s.Calls("DescribeSecret") == 1 })
	s.Close()
	if err := <-done; err == nil {
		t.Error("hanging call succeeded")
	}
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
