package awsstub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/credproxy/credproxy/integration/awsstub"
)

const function = "arn:aws:lambda:eu-west-1:123456789012:function:rotation"

// rotate is a rotation function that changes nothing but the secret.
func rotate(ctx context.Context, c *sm.Client, e awsstub.RotationEvent) error {
	switch e.Step {
	case "createSecret":
		_, err := c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: &e.SecretID, ClientRequestToken: &e.ClientRequestToken,
			SecretString: aws.String("value of " + e.ClientRequestToken), VersionStages: []string{awsstub.Pending}})
		return err
	case "finishSecret":
		current, err := get(ctx, c, e.SecretID)
		if err != nil {
			return err
		}
		_, err = c.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{SecretId: &e.SecretID, VersionStage: aws.String(awsstub.Current),
			RemoveFromVersionId: current.VersionId, MoveToVersionId: &e.ClientRequestToken})
		return err
	}
	return nil
}

func TestRotateSecretRunsTheFunction(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "v1"}})
	c := client(t, s)
	type outcome struct {
		rotation awsstub.Rotation
		steps    []string
		err      error
	}
	outcomes := make(chan outcome)
	var failing string // the first call of this step fails
	s.OnRotate(func(ctx context.Context, r awsstub.Rotation) {
		o := outcome{rotation: r}
		o.err = r.Run(ctx, func(ctx context.Context, e awsstub.RotationEvent) error {
			o.steps = append(o.steps, e.Step)
			if e.Step == failing {
				failing = ""
				return errors.New("as asked")
			}
			if e.ClientRequestToken != r.Token || e.SecretID != s.Secret("a").ARN {
				t.Errorf("event %+v of rotation %+v", e, r)
			}
			return rotate(ctx, c, e)
		})
		outcomes <- o
	})
	request := func() *sm.RotateSecretInput { return &sm.RotateSecretInput{SecretId: aws.String("a")} } // the SDK puts a token into it
	_, err := c.RotateSecret(t.Context(), request())
	wantAPIError(t, err, "InvalidRequestException", "No Lambda rotation function ARN is associated with this secret.")

	s.EnableRotation("a", function)
	out, err := c.RotateSecret(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	o := <-outcomes
	if o.err != nil || o.rotation.Token != *out.VersionId || o.rotation.FunctionARN != function || !slices.Equal(o.steps, []string{"createSecret", "setSecret", "testSecret", "finishSecret"}) {
		t.Errorf("rotation %+v of version %s, steps %v: %v", o.rotation, *out.VersionId, o.steps, o.err)
	}
	wantLabels(t, "rotated", labels(t, s, c, "a"), "v1=AWSPREVIOUS", "value of "+*out.VersionId+"=AWSCURRENT,AWSPENDING")
	described, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("a")})
	if err != nil || described.LastRotatedDate == nil || *described.RotationLambdaARN != function || !*described.RotationEnabled {
		t.Errorf("described %+v, %v", described, err)
	}

	failing = "testSecret"
	if _, err := c.RotateSecret(t.Context(), request()); err != nil {
		t.Fatal(err)
	}
	o = <-outcomes
	if got := strings.Join(o.steps, " "); o.err != nil || got != "createSecret setSecret testSecret createSecret setSecret testSecret finishSecret" {
		t.Errorf("steps %s: %v", got, o.err)
	}
}

// A rotation that did not come to its end stands in the way of the next, and is taken up again with its token.
func TestRotateSecretReattempts(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "v1"}})
	s.EnableRotation("a", function)
	c := client(t, s)
	begun := s.BeginRotation("a")
	var ended error
	works := false
	s.OnRotate(func(ctx context.Context, r awsstub.Rotation) {
		ended = r.Run(ctx, func(ctx context.Context, e awsstub.RotationEvent) error {
			if !works {
				return errors.New("broken")
			}
			return rotate(ctx, c, e)
		})
	})
	for _, want := range []string{"createSecret: broken", "<nil>"} {
		_, err := c.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String("a")})
		wantAPIError(t, err, "InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
		s.AwaitRotations()
		if fmt.Sprint(ended) != want {
			t.Errorf("ended with %v, want %s", ended, want)
		}
		works = true
	}
	wantLabels(t, "rotated", labels(t, s, c, "a"), "v1=AWSPREVIOUS", "value of "+begun+"=AWSCURRENT,AWSPENDING")
}

func TestRotationEndsWhenItIsOff(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "v1"}})
	c := client(t, s)
	mustPanic(t, "rotation of a secret without a function", func() { s.StartRotation("a") })
	s.EnableRotation("a", function)
	r := s.StartRotation("a")
	if again := s.StartRotation("a"); again.Token != r.Token {
		t.Errorf("a second rotation, %s, beside %s", again.Token, r.Token)
	}
	calls := 0
	err := r.Run(t.Context(), func(ctx context.Context, _ awsstub.RotationEvent) error {
		calls++
		out, err := c.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: aws.String("a")})
		if err != nil || *out.VersionId != r.Token {
			t.Errorf("cancel: %+v, %v", out, err)
		}
		return errors.New("too late")
	})
	if err == nil || err.Error() != "rotation of the secret was turned off" || calls != 1 {
		t.Errorf("%d calls, error %v", calls, err)
	}
	wantLabels(t, "cancelled", labels(t, s, c, "a"), "v1=AWSCURRENT", "(none)=AWSPENDING")
	out, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("a")})
	if err != nil || out.RotationEnabled == nil || *out.RotationEnabled || out.NextRotationDate != nil {
		t.Errorf("described %+v, %v", out, err)
	}
	s.EnableRotation("a", function)
	s.MoveLabel("a", awsstub.Pending, "")
	if err := r.Run(t.Context(), nil); err == nil || err.Error() != "the version has lost AWSPENDING" {
		t.Errorf("error %v", err)
	}
}

func TestRotateSecretWithoutRotating(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "v1"}})
	c := client(t, s)
	tested := make(chan string)
	s.OnRotate(func(ctx context.Context, r awsstub.Rotation) {
		_ = r.Run(ctx, func(ctx context.Context, e awsstub.RotationEvent) error {
			out, err := c.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &e.SecretID, VersionId: &e.ClientRequestToken, VersionStage: aws.String(awsstub.Pending)})
			tested <- fmt.Sprint(e.Step, " ", *out.SecretString, err)
			return nil
		})
	})
	_, err := c.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String("a"), RotationLambdaARN: aws.String(function),
		RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(7)}, RotateImmediately: aws.Bool(false)})
	if err != nil {
		t.Fatal(err)
	}
	if got := <-tested; got != "testSecret v1<nil>" {
		t.Errorf("the function saw %s", got)
	}
	waitFor(t, "the version to go", func() bool { return len(s.Secret("a").Versions) == 1 })
}

func TestRotateSecretAgainWithItsToken(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "v1"}})
	s.EnableRotation("a", function)
	c := client(t, s)
	in := &sm.RotateSecretInput{SecretId: aws.String("a"), ClientRequestToken: aws.String(strings.Repeat("1234", 8))}
	for range 2 {
		out, err := c.RotateSecret(t.Context(), in)
		if err != nil || *out.VersionId != *in.ClientRequestToken {
			t.Errorf("%+v, %v", out, err)
		}
	}
	if n := len(s.Secret("a").Versions); n != 2 {
		t.Errorf("%d versions", n)
	}
}

func TestTags(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "v1"}})
	s.SetTag("a", "aws:rds:primaryDBInstanceArn", "arn:old")
	s.SetTag("a", "aws:rds:primaryDBInstanceArn", "arn:new")
	out, err := client(t, s).DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("a")})
	if err != nil || len(out.Tags) != 1 || *out.Tags[0].Key != "aws:rds:primaryDBInstanceArn" || *out.Tags[0].Value != "arn:new" {
		t.Errorf("tags %v, %v", out.Tags, err)
	}
}

func TestGetRandomPassword(t *testing.T) {
	c := client(t, start(t, awsstub.Options{}))
	kinds := func(s string) (found string) {
		for _, kind := range []struct {
			name string
			is   func(rune) bool
		}{{"lower", unicode.IsLower}, {"upper", unicode.IsUpper}, {"number", unicode.IsDigit},
			{"punctuation", func(r rune) bool { return unicode.IsPunct(r) || unicode.IsSymbol(r) }}, {"space", unicode.IsSpace}} {
			if strings.ContainsFunc(s, kind.is) {
				found += " " + kind.name
			}
		}
		return found
	}
	for _, tt := range []struct {
		name   string
		in     sm.GetRandomPasswordInput
		length int
		kinds  string
	}{
		{"default", sm.GetRandomPasswordInput{}, 32, " lower upper number punctuation"},
		{"each of a short one", sm.GetRandomPasswordInput{PasswordLength: aws.Int64(5), IncludeSpace: aws.Bool(true)}, 5, " lower upper number punctuation space"},
		{"letters", sm.GetRandomPasswordInput{ExcludeNumbers: aws.Bool(true), ExcludePunctuation: aws.Bool(true), PasswordLength: aws.Int64(4096)}, 4096, " lower upper"},
		{"numbers", sm.GetRandomPasswordInput{ExcludeLowercase: aws.Bool(true), ExcludeUppercase: aws.Bool(true), ExcludePunctuation: aws.Bool(true)}, 32, " number"},
		{"one", sm.GetRandomPasswordInput{RequireEachIncludedType: aws.Bool(false), ExcludeLowercase: aws.Bool(true), ExcludeUppercase: aws.Bool(true),
			ExcludePunctuation: aws.Bool(true), PasswordLength: aws.Int64(1)}, 1, " number"},
		{"no quotes", sm.GetRandomPasswordInput{ExcludeCharacters: aws.String(`/@"'\ 0123456789`), PasswordLength: aws.Int64(4096)}, 4096, " lower upper punctuation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := c.GetRandomPassword(t.Context(), &tt.in)
			if err != nil {
				t.Fatal(err)
			}
			got := *out.RandomPassword
			if len(got) != tt.length || kinds(got) != tt.kinds || strings.ContainsAny(got, aws.ToString(tt.in.ExcludeCharacters)) {
				t.Errorf("%d characters of%s: %q", len(got), kinds(got), got)
			}
		})
	}
	for _, in := range []sm.GetRandomPasswordInput{
		{PasswordLength: aws.Int64(3)}, {PasswordLength: aws.Int64(0)}, {PasswordLength: aws.Int64(4097)}, {ExcludeCharacters: aws.String(strings.Repeat("x", 4097))},
		{ExcludeLowercase: aws.Bool(true), ExcludeUppercase: aws.Bool(true), ExcludePunctuation: aws.Bool(true), ExcludeNumbers: aws.Bool(true)},
	} {
		_, err := c.GetRandomPassword(t.Context(), &in)
		wantAPIError(t, err, "InvalidParameterException", "")
	}
}
