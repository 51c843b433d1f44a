package awsstub_test

import (
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

func TestAllowPolicy(t *testing.T) {
	allow, err := awsstub.AllowPolicy([]byte(`{"Version": "2012-10-17", "Statement": [
		{"Sid": "A", "Effect": "Allow", "Action": ["secretsmanager:GetSecretValue", "secretsmanager:Describe*"], "Resource": "arn:aws:secretsmanager:eu-west-1:1:secret:prod/*-??????"},
		{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": ["arn:k"], "Condition": {"StringEquals": {"kms:ViaService": ["secretsmanager.eu-west-1.amazonaws.com"]}}},
		{"Effect": "Allow", "Action": "rds:*", "Resource": "*"},
		{"Effect": "Deny", "Action": "rds:Delete*", "Resource": "*"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	const secret = "arn:aws:secretsmanager:eu-west-1:1:secret:"
	for _, tt := range []struct {
		action, resource string
		want             bool
	}{
		{"secretsmanager:GetSecretValue", secret + "prod/a/b-AbCdEf", true},
		{"secretsmanager:getsecretvalue", secret + "prod/a-AbCdEf", true},
		{"secretsmanager:DescribeSecret", secret + "prod/a-AbCdEf", true},
		{"secretsmanager:GetSecretValue", secret + "Prod/a-AbCdEf", false},
		{"secretsmanager:GetSecretValue", secret + "prod/a-AbCdE", false},
		{"secretsmanager:GetSecretValues", secret + "prod/a-AbCdEf", false},
		{"secretsmanager:PutSecretValue", secret + "prod/a-AbCdEf", false},
		{"kms:Decrypt", "arn:k", true},
		{"kms:Encrypt", "arn:k", false},
		{"rds:DescribeDBInstances", "arn:aws:rds:eu-west-1:1:db:*", true},
		{"rds:DeleteDBInstance", "arn:aws:rds:eu-west-1:1:db:x", false},
	} {
		if got := allow(tt.action, tt.resource); got != tt.want {
			t.Errorf("%s on %s: %v", tt.action, tt.resource, got)
		}
	}
	one, err := awsstub.AllowPolicy([]byte(`{"Statement": {"Effect": "Allow", "Action": "a:b[c]", "Resource": "x\\y"}}`))
	if err != nil || !one("a:b[c]", `x\y`) || one("a:bc", `x\y`) {
		t.Errorf("one statement, plain characters: %v", err)
	}
	for name, document := range map[string]string{
		"no JSON":         `{`,
		"effect":          `{"Statement": [{"Effect": "allow", "Action": "a:b", "Resource": "*"}]}`,
		"no resource":     `{"Statement": [{"Effect": "Allow", "Action": "a:b"}]}`,
		"NotAction":       `{"Statement": [{"Effect": "Allow", "NotAction": "a:b", "Action": "a:b", "Resource": "*"}]}`,
		"other condition": `{"Statement": [{"Effect": "Allow", "Action": "a:b", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]}`,
		"variable":        `{"Statement": [{"Effect": "Allow", "Action": "a:b", "Resource": "${aws:username}"}]}`,
	} {
		if _, err := awsstub.AllowPolicy([]byte(document)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestKeyOfTheSecret(t *testing.T) {
	denied := ""
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "v1"}, Identities: []awsstub.Identity{{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "k",
		Allow: func(action, resource string) bool {
			return action != denied || resource != "arn:aws:kms:eu-west-1:123456789012:key/1"
		}}}})
	c := client(t, s)
	s.Edit("a", func(sec *awsstub.Secret) { sec.KMSKeyID = "arn:aws:kms:eu-west-1:123456789012:key/1" })
	if err := put(t, c, "v2"); err != nil {
		t.Error(err)
	}
	denied = "kms:GenerateDataKey"
	wantAPIError(t, put(t, c, "v3"), "AccessDeniedException", "Access to KMS is not allowed")
	if _, err := get(t.Context(), c, "a"); err != nil {
		t.Error(err)
	}
	denied = "kms:Decrypt"
	_, err := get(t.Context(), c, "a")
	wantAPIError(t, err, "AccessDeniedException", "Access to KMS is not allowed")
	s.Edit("a", func(sec *awsstub.Secret) { sec.KMSKeyID = "" })
	if err := put(t, c, "v3"); err != nil {
		t.Error(err)
	}
}
