package awsstub_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/credproxy/credproxy/integration/awsstub"
)

func TestGetSecretValueByEveryName(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"prod/orders": "one"}})
	first := s.Secret("prod/orders").Versions[0].ID
	second := s.PutSecret("prod/orders", "two")
	third := s.PutSecret("prod/orders", "three", awsstub.Pending)
	arn := s.Secret("prod/orders").ARN
	c := client(t, s)
	tests := []struct {
		name, id, version, stage string
		want, code, message      string
	}{
		{name: "name", id: "prod/orders", want: "two"},
		{name: "full ARN", id: arn, want: "two"},
		{name: "partial ARN", id: arn[:len(arn)-7], want: "two"},
		{name: "current", id: arn, stage: awsstub.Current, want: "two"},
		{name: "previous", id: arn, stage: awsstub.Previous, want: "one"},
		{name: "pending", id: arn, stage: awsstub.Pending, want: "three"},
		{name: "version", id: arn, version: first, want: "one"},
		{name: "version and stage", id: arn, version: third, stage: awsstub.Pending, want: "three"},
		{name: "version without the stage", id: arn, version: second, stage: awsstub.Pending,
			code: "InvalidRequestException", message: "not associated to the provided VersionId"},
		{name: "no such secret", id: "prod/order", code: "ResourceNotFoundException", message: "Secrets Manager can't find the specified secret."},
		{name: "wrong suffix", id: arn[:len(arn)-6] + "xxxxxx", code: "ResourceNotFoundException", message: "can't find the specified secret."},
		{name: "other region", id: strings.Replace(arn, "eu-west-1", "us-east-1", 1), code: "ResourceNotFoundException", message: "can't find the specified secret."},
		{name: "no such stage", id: arn, stage: "blue", code: "ResourceNotFoundException",
			message: "Secrets Manager can't find the specified secret value for staging label: blue"},
		{name: "no such version", id: arn, version: "b0000000-0000-0000-0000-000000000000", code: "ResourceNotFoundException",
			message: "Secrets Manager can't find the specified secret value for VersionId: b0000000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := &sm.GetSecretValueInput{SecretId: &tt.id}
			if tt.version != "" {
				in.VersionId = &tt.version
			}
			if tt.stage != "" {
				in.VersionStage = &tt.stage
			}
			out, err := c.GetSecretValue(t.Context(), in)
			if tt.code != "" {
				wantAPIError(t, err, tt.code, tt.message)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if *out.SecretString != tt.want || *out.ARN != arn || *out.Name != "prod/orders" {
				t.Errorf("got %q of %s (%s), want %q", *out.SecretString, *out.Name, *out.ARN, tt.want)
			}
			if age := time.Since(*out.CreatedDate); age < -time.Second || age > time.Minute {
				t.Errorf("created %s", out.CreatedDate)
			}
		})
	}
}

// labels is the secret's VersionIdsToStages with values in place of ids, as DescribeSecret and ListSecretVersionIds give it.
func labels(t *testing.T, s *awsstub.Server, c *sm.Client, name string) map[string]string {
	t.Helper()
	described, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	listed, err := c.ListSecretVersionIds(t.Context(), &sm.ListSecretVersionIdsInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	if len(listed.Versions) != len(described.VersionIdsToStages) {
		t.Errorf("%d versions listed, %d described", len(listed.Versions), len(described.VersionIdsToStages))
	}
	secret, byValue := s.Secret(name), make(map[string]string)
	for id, stages := range described.VersionIdsToStages {
		value := "(none)"
		if v := secret.Version(id); v.Text != nil {
			value = *v.Text
		}
		byValue[value] = strings.Join(stages, ",")
	}
	return byValue
}

func wantLabels(t *testing.T, step string, got map[string]string, want ...string) {
	t.Helper()
	m := make(map[string]string)
	for _, w := range want {
		value, stages, _ := strings.Cut(w, "=")
		m[value] = stages
	}
	if !maps.Equal(got, m) {
		t.Errorf("%s: labels %v, want %v", step, got, m)
	}
}

// A rotation over HTTP, as a rotation function makes it, then its rollback.
func TestRotationMovesLabels(t *testing.T) {
	s := start(t, awsstub.Options{})
	c := client(t, s)
	ctx := t.Context()
	name := aws.String("prod/orders")
	created, err := c.CreateSecret(ctx, &sm.CreateSecretInput{Name: name, SecretString: aws.String("v1"), KmsKeyId: aws.String("alias/db")})
	if err != nil {
		t.Fatal(err)
	}
	wantLabels(t, "created", labels(t, s, c, *name), "v1=AWSCURRENT")

	_, err = c.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: name, RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(10)}})
	wantAPIError(t, err, "InvalidRequestException", "No Lambda rotation function ARN")
	rotated, err := c.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: name, RotationLambdaARN: aws.String("arn:aws:lambda:eu-west-1:123456789012:function:r"),
		RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(4 hours)")}})
	if err != nil || rotated.VersionId == nil {
		t.Fatal(rotated, err)
	}
	described, err := c.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: name})
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Until(*described.NextRotationDate); !*described.RotationEnabled || d < 3*time.Hour || d > 4*time.Hour || described.LastRotatedDate != nil {
		t.Errorf("rotation enabled %v, next in %s, last %v", *described.RotationEnabled, d, described.LastRotatedDate)
	}
	if *described.KmsKeyId != "alias/db" {
		t.Errorf("key %q", *described.KmsKeyId)
	}

	begun := s.BeginRotation(*name)
	wantLabels(t, "begun", labels(t, s, c, *name), "v1=AWSCURRENT", "(none)=AWSPENDING")
	_, err = c.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: name, VersionStage: aws.String(awsstub.Pending)})
	wantAPIError(t, err, "ResourceNotFoundException", "staging label: AWSPENDING")

	put := &sm.PutSecretValueInput{SecretId: name, SecretString: aws.String("v2"), ClientRequestToken: &begun, VersionStages: []string{awsstub.Pending}}
	for range 2 { // the second is the retry of a step: the same token and value change nothing
		out, err := c.PutSecretValue(ctx, put)
		if err != nil {
			t.Fatal(err)
		}
		if *out.VersionId != begun || !slices.Equal(out.VersionStages, []string{awsstub.Pending}) {
			t.Errorf("put %s %v", *out.VersionId, out.VersionStages)
		}
		wantLabels(t, "put", labels(t, s, c, *name), "v1=AWSCURRENT", "v2=AWSPENDING")
	}
	put.SecretString = aws.String("other")
	_, err = c.PutSecretValue(ctx, put)
	wantAPIError(t, err, "ResourceExistsException", begun)

	move := func(from, to *string) error {
		_, err := c.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{SecretId: name, VersionStage: aws.String(awsstub.Current),
			RemoveFromVersionId: from, MoveToVersionId: to})
		return err
	}
	wantAPIError(t, move(nil, &begun), "InvalidParameterException", "RemoveFromVersionId can't be empty")
	wantAPIError(t, move(&begun, nil), "InvalidParameterException", "It can't be completely removed")
	if err := move(created.VersionId, &begun); err != nil {
		t.Fatal(err)
	}
	wantLabels(t, "finished", labels(t, s, c, *name), "v1=AWSPREVIOUS", "v2=AWSCURRENT,AWSPENDING")
	if sec := s.Secret(*name); sec.LastRotated.IsZero() {
		t.Error("LastRotated is not set by the end of the rotation")
	}
	if err := move(&begun, created.VersionId); err != nil {
		t.Fatal(err)
	}
	wantLabels(t, "rolled back", labels(t, s, c, *name), "v1=AWSCURRENT", "v2=AWSPENDING,AWSPREVIOUS")
}

func TestOwnerMovesLabels(t *testing.T) {
	s := start(t, awsstub.Options{})
	s.CreateSecret("a", "v1")
	c := client(t, s)
	v1 := s.Secret("a").Stage(awsstub.Current).ID
	v2 := s.PutSecret("a", "v2", awsstub.Pending)
	v3 := s.PutSecret("a", "v3", "blue", awsstub.Pending)
	wantLabels(t, "a label is on one version", labels(t, s, c, "a"), "v1=AWSCURRENT", "v3=AWSPENDING,blue")
	listed, err := c.ListSecretVersionIds(t.Context(), &sm.ListSecretVersionIdsInput{SecretId: aws.String("a"), IncludeDeprecated: aws.Bool(true)})
	if err != nil || len(listed.Versions) != 3 || *listed.Versions[1].VersionId != v2 {
		t.Errorf("with deprecated ones: %v, %v", listed, err)
	}
	if out, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("a"), VersionId: &v2}); err != nil || *out.SecretString != "v2" {
		t.Errorf("deprecated version: %v, %v", out, err)
	}
	s.MoveLabel("a", awsstub.Current, v3)
	s.MoveLabel("a", awsstub.Pending, "")
	wantLabels(t, "moved", labels(t, s, c, "a"), "v1=AWSPREVIOUS", "v3=AWSCURRENT,blue")
	s.MoveLabel("a", awsstub.Current, v1)
	wantLabels(t, "back", labels(t, s, c, "a"), "v1=AWSCURRENT", "v3=AWSPREVIOUS,blue")

	mustPanic(t, "unknown secret", func() { s.PutSecret("b", "x") })
	mustPanic(t, "unknown version", func() { s.MoveLabel("a", "x", "y") })
	mustPanic(t, "secret that exists", func() { s.CreateSecret("a", "x") })
}

func TestDeprecatedVersionsGoLazily(t *testing.T) {
	now := time.Now()
	s := start(t, awsstub.Options{Now: func() time.Time { return now }})
	s.CreateSecret("a", "v")
	for range 150 {
		s.PutSecret("a", "v")
	}
	if n := len(s.Secret("a").Versions); n != 151 {
		t.Errorf("%d versions on the first day, want all 151", n)
	}
	now = now.Add(25 * time.Hour)
	s.PutSecret("a", "v")
	if n := len(s.Secret("a").Versions); n != 100 {
		t.Errorf("%d versions a day later, want 100", n)
	}
}

func TestDescribeManagedSecret(t *testing.T) {
	s := start(t, awsstub.Options{})
	name := "rds!cluster-1b2c3d"
	s.CreateSecret(name, `{"username":"app","password":"x"}`)
	next := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	s.Edit(name, func(sec *awsstub.Secret) {
		sec.OwningService, sec.RotationEnabled, sec.NextRotation = "rds", true, next
	})
	out, err := client(t, s).DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	if *out.OwningService != "rds" || !*out.RotationEnabled || !out.NextRotationDate.Equal(next) || out.DeletedDate != nil || out.LastAccessedDate != nil {
		t.Errorf("owning service %q, next rotation %s, deleted %v, accessed %v", *out.OwningService, out.NextRotationDate, out.DeletedDate, out.LastAccessedDate)
	}
}

func TestBatchGetSecretValue(t *testing.T) {
	s := start(t, awsstub.Options{Identities: []awsstub.Identity{{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "k",
		Allow: func(action, resource string) bool {
			return action != "secretsmanager:GetSecretValue" || !strings.Contains(resource, ":secret:closed-")
		}}}})
	for _, name := range []string{"a", "b", "closed"} {
		s.CreateSecret(name, "value of "+name)
	}
	c := client(t, s)
	out, err := c.BatchGetSecretValue(t.Context(), &sm.BatchGetSecretValueInput{SecretIdList: []string{"a", "none", "closed", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range out.SecretValues {
		got = append(got, *v.SecretString)
	}
	for _, e := range out.Errors {
		got = append(got, *e.SecretId+" "+*e.ErrorCode)
	}
	if want := []string{"value of a", "value of b", "none ResourceNotFoundException", "closed AccessDeniedException"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = c.BatchGetSecretValue(t.Context(), &sm.BatchGetSecretValueInput{SecretIdList: make([]string, 21)})
	wantAPIError(t, err, "InvalidParameterException", "1 to 20")
}

func TestBinaryDeletedAndForbidden(t *testing.T) {
	var denied string
	s := start(t, awsstub.Options{Identities: []awsstub.Identity{{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "k",
		Allow: func(action, _ string) bool { return action != denied }}}})
	c := client(t, s)
	ctx := t.Context()
	name := aws.String("bin")
	if _, err := c.CreateSecret(ctx, &sm.CreateSecretInput{Name: name, SecretBinary: []byte{0, 1, 0xff}}); err != nil {
		t.Fatal(err)
	}
	out, err := get(ctx, c, "bin")
	if err != nil || !slices.Equal(out.SecretBinary, []byte{0, 1, 0xff}) || out.SecretString != nil {
		t.Errorf("binary: %v, %v", out, err)
	}
	_, err = c.CreateSecret(ctx, &sm.CreateSecretInput{Name: name})
	wantAPIError(t, err, "ResourceExistsException", "bin already exists")
	_, err = c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: name, SecretString: aws.String(strings.Repeat("x", 64<<10+1))})
	wantAPIError(t, err, "ValidationException", "65536")

	denied = "secretsmanager:GetSecretValue"
	_, err = get(ctx, c, "bin")
	wantAPIError(t, err, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/credproxy is not authorized to perform: secretsmanager:GetSecretValue on resource: "+
		s.Secret("bin").ARN+" because no identity-based policy allows the secretsmanager:GetSecretValue action")
	_, err = get(ctx, c, "nowhere")
	wantAPIError(t, err, "AccessDeniedException", "on resource: nowhere because")
	denied = ""

	if _, err := c.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: name}); err != nil {
		t.Fatal(err)
	}
	_, err = get(ctx, c, "bin")
	wantAPIError(t, err, "InvalidRequestException", "marked for deletion")
	if d, err := c.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: name}); err != nil || d.DeletedDate == nil {
		t.Errorf("describe deleted: %v, %v", d, err)
	}
	if _, err := c.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: name}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: name, ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	_, err = get(ctx, c, "bin")
	wantAPIError(t, err, "ResourceNotFoundException", "can't find")
}
