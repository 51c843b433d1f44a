package inventory

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// TestMemory: what the value of a secret names is known while the secret is there, also to the next
// Client, when the list of secrets is not told, and when the value cannot be read any more.
func TestMemory(t *testing.T) {
	memory := new(Memory)
	arn := aws.String(secretARN + "x")
	readable := true
	rounds := func(a *Account) string {
		c := &Client{options: Options{Memory: memory, Called: func(string, error) {}}}
		c.values = func(context.Context, *secretsmanager.BatchGetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.BatchGetSecretValueOutput, error) {
			if !readable {
				return &secretsmanager.BatchGetSecretValueOutput{Errors: []smtypes.APIErrorType{{SecretId: arn, ErrorCode: aws.String("AccessDenied")}}}, nil
			}
			return &secretsmanager.BatchGetSecretValueOutput{SecretValues: []smtypes.SecretValueEntry{{ARN: arn, SecretString: aws.String(`{"username": "app", "password": "p", "host": "A.example"}`)}}}, nil
		}
		c.readHosts(t.Context(), a)
		return a.Hosts[*arn]
	}
	listed := func() *Account { return &Account{Secrets: []smtypes.SecretListEntry{{ARN: arn}}} }
	if got := rounds(listed()); got != "a.example" {
		t.Fatalf("%q", got)
	}
	readable = false
	rounds(&Account{Failures: []Failure{{Call: "secretsmanager:ListSecrets", Err: errors.New("throttled")}}})
	for range 2 {
		if got := rounds(listed()); got != "a.example" {
			t.Errorf("%q", got)
		}
	}
	rounds(new(Account)) // it has gone
	if got := rounds(listed()); got != "" {
		t.Errorf("%q", got)
	}
}
