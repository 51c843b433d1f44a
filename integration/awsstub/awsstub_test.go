package awsstub_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/integration/awsstub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, opts awsstub.Options) *awsstub.Server {
	t.Helper()
	s, err := awsstub.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// sdk loads the SDK's default configuration as a process with this environment would. One attempt a call, unless
// an option says otherwise, so that counts are exact.
func sdk(t *testing.T, env []string, opts ...func(*config.LoadOptions) error) aws.Config {
	t.Helper()
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	opts = append([]func(*config.LoadOptions) error{
		config.WithHTTPClient(&http.Client{Transport: transport}),
		config.WithRetryMaxAttempts(1),
	}, opts...)
	cfg, err := config.LoadDefaultConfig(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func client(t *testing.T, s *awsstub.Server) *sm.Client { return sm.NewFromConfig(sdk(t, s.Env())) }

// wantAPIError checks code and a part of the message.
func wantAPIError(t *testing.T, err error, code, message string) {
	t.Helper()
	var apiErr smithy.APIError
	if !errors.As(err, &apiErr) {
		t.Fatalf("error = %v, want %s", err, code)
	}
	if apiErr.ErrorCode() != code || !strings.Contains(apiErr.ErrorMessage(), message) {
		t.Fatalf("error = %s: %q, want %s: …%q…", apiErr.ErrorCode(), apiErr.ErrorMessage(), code, message)
	}
}

func get(ctx context.Context, c *sm.Client, id string) (*sm.GetSecretValueOutput, error) {
	return c.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &id})
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: did not panic", what)
		}
	}()
	f()
}

func TestCallsAreRecorded(t *testing.T) {
	var seen []awsstub.Call
	s := start(t, awsstub.Options{Identities: []awsstub.Identity{testKey}, OnCall: func(c awsstub.Call) { seen = append(seen, c) }})
	arn := s.CreateSecret("prod/orders", "v1")
	c := client(t, s)
	before := time.Now()
	out, err := get(t.Context(), c, arn)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("prod/orders"), VersionStage: aws.String(awsstub.Pending)})
	wantAPIError(t, err, "ResourceNotFoundException", "AWSPENDING")

	want := []awsstub.Call{
		{Operation: "GetSecretValue", AccessKeyID: testKey.AccessKeyID, SecretID: arn, VersionID: *out.VersionId, Result: awsstub.ResultOK},
		{Operation: "GetSecretValue", AccessKeyID: testKey.AccessKeyID, SecretID: "prod/orders", Stage: awsstub.Pending, Result: "ResourceNotFoundException"},
	}
	log := s.Log()
	if len(log) != len(want) || len(seen) != len(want) {
		t.Fatalf("%d calls logged, %d told; want %d", len(log), len(seen), len(want))
	}
	for i, got := range log {
		if got.Time.Before(before) || got.Time.After(time.Now()) {
			t.Errorf("call %d at %s", i, got.Time)
		}
		if got != seen[i] {
			t.Errorf("call %d: log %+v, told %+v", i, got, seen[i])
		}
		got.Time = time.Time{}
		if got != want[i] {
			t.Errorf("call %d = %+v, want %+v", i, got, want[i])
		}
	}
	if n, all := s.Calls("GetSecretValue"), s.Calls(awsstub.Any); n != 2 || all != 2 {
		t.Errorf("counts %d and %d, want 2 and 2", n, all)
	}
	s.ResetCalls()
	if n := s.Calls("GetSecretValue"); n != 0 || len(s.Log()) != 0 {
		t.Errorf("after reset %d calls, log %v", n, s.Log())
	}
	mustPanic(t, "count of an unknown operation", func() { s.Calls("GetSecretVaule") })
	mustPanic(t, "fault for an unknown operation", func() { s.Inject("GetSecretVaule", awsstub.Fault{}) })
}

func TestStartRefusesBadSecretsAndAddresses(t *testing.T) {
	for name, opts := range map[string]awsstub.Options{
		"secret name": {Secrets: map[string]string{"a b": "x"}},
		"address":     {Listen: "127.0.0.1:http-or-so"},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := awsstub.Start(opts); err == nil {
				s.Close()
				t.Error("started")
			}
		})
	}
}

func TestCloseTwice(t *testing.T) {
	s := start(t, awsstub.Options{})
	s.Close()
	s.Close()
	if _, err := http.Get(s.URL()); err == nil {
		t.Error("closed server answers")
	}
}

// Readers never see anything but a whole version, whatever the owner does meanwhile.
func TestReadersDuringRotations(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "v0"}})
	c := client(t, s)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				out, err := get(t.Context(), c, "a")
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				if v := s.Secret("a").Version(*out.VersionId); v == nil || *v.Text != *out.SecretString || out.VersionStages[0] != awsstub.Current {
					t.Errorf("read %q %v, which version %s never was", *out.SecretString, out.VersionStages, *out.VersionId)
				}
			}
		})
	}
	for i := range 50 {
		pending := s.BeginRotation("a")
		if id := s.PutSecret("a", fmt.Sprint("v", i+1), awsstub.Pending); id != pending {
			t.Errorf("value went to version %s, not the pending %s", id, pending)
		}
		s.MoveLabel("a", awsstub.Current, pending)
	}
	waitFor(t, "some reads", func() bool { return s.Calls("GetSecretValue") > 100 })
	close(stop)
	readers.Wait()
}
