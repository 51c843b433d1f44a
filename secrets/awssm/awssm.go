// Package awssm reads database credentials from AWS Secrets Manager.
//
// Invariant: a [Source] only reads, by DescribeSecret and GetSecretValue, and its
// errors never show a part of the secret.
//
// It does not cache, retry beyond the SDK's second attempt, or know rotation:
// secrets.Cache decides what to fetch and when. It reads one secret; keys tell
// which of the credentials in it.
package awssm

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

// Options for [New]. Only SecretID is required.
type Options struct {
	SecretID   string       // ARN or name
	Region     string       // default: the ARN's, else the SDK's
	Keys       secrets.Keys // for one secret that holds many
	AssumeRole awscfg.Role
	AWS        *awscfg.Shared // what its configuration is loaded from; nil: it has nothing in common with others
	// Observe, if set, is called after each API call (GetSecretValue, AssumeRole)
	// with nil or its *secrets.Error.
	Observe func(operation string, err error)
}

// Source is a secret in Secrets Manager. It is a secrets.Source.
type Source struct {
	id      string
	keys    secrets.Keys
	config  *awscfg.Config
	client  *secretsmanager.Client
	observe func(operation string, err error)
}

// New checks opts and loads the AWS configuration. It does not fetch the secret.
func New(ctx context.Context, opts Options) (*Source, error) {
	if opts.SecretID == "" {
		return nil, fmt.Errorf("secrets manager: no secret id")
	}
	if err := opts.Keys.Validate(); err != nil {
		return nil, fmt.Errorf("secret %s: keys: %w", opts.SecretID, err)
	}
	region := opts.Region
	if arn.IsARN(opts.SecretID) {
		a, err := arn.Parse(opts.SecretID)
		if err != nil || a.Service != "secretsmanager" || a.Region == "" {
			return nil, fmt.Errorf("secret %s: not the ARN of a secret", opts.SecretID)
		}
		if region == "" {
			region = a.Region
		}
	}
	config, err := opts.AWS.Load(ctx, awscfg.Options{Region: region, Role: opts.AssumeRole, Observe: opts.Observe})
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", opts.SecretID, err)
	}
	s := &Source{
		id:      opts.SecretID,
		keys:    opts.Keys,
		config:  config,
		client:  secretsmanager.NewFromConfig(config.AWS),
		observe: opts.Observe,
	}
	if s.observe == nil {
		s.observe = func(string, error) {}
	}
	return s, nil
}

// Kind is "secrets_manager".
func (s *Source) Kind() string { return "secrets_manager" }

// Fetch gets the version that carries stage.
func (s *Source) Fetch(ctx context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	label := string(stage)
	return s.get(ctx, label, &secretsmanager.GetSecretValueInput{SecretId: &s.id, VersionStage: &label})
}

// FetchVersion gets the version with this id. It is one of secrets.Labelled's
// methods.
func (s *Source) FetchVersion(ctx context.Context, id string) (*secrets.Credential, error) {
	return s.get(ctx, "version "+id, &secretsmanager.GetSecretValueInput{SecretId: &s.id, VersionId: &id})
}

// get reads one version; which names it in errors.
func (s *Source) get(ctx context.Context, which string, in *secretsmanager.GetSecretValueInput) (*secrets.Credential, error) {
	var out *secretsmanager.GetSecretValueOutput
	err := s.call(ctx, "GetSecretValue", which, func() (err error) { out, err = s.client.GetSecretValue(ctx, in); return err })
	if err != nil {
		return nil, err
	}
	return s.credential(which, out)
}

// call runs one call to Secrets Manager and explains its error.
func (s *Source) call(ctx context.Context, operation, which string, run func() error) error {
	// First, so that missing AWS credentials are not taken for an answer.
	signer, err := s.config.Credentials(ctx)
	if err != nil {
		return secrets.Errorf(secrets.ReasonOf(err), "secret %s: %w", s.id, err)
	}
	err = run()
	if awscfg.Expired(err) {
		s.config.Invalidate(signer)
	}
	err = Explain(s.id, operation, which, err)
	s.observe(operation, err)
	return err
}

// credential reads the answer of Secrets Manager.
func (s *Source) credential(which string, out *secretsmanager.GetSecretValueOutput) (*secrets.Credential, error) {
	switch {
	case out.SecretString == nil && out.SecretBinary != nil:
		return nil, secrets.Errorf(secrets.Malformed, "secret %s (%s): it is binary; store the JSON as a string", s.id, which)
	case out.SecretString == nil:
		return nil, secrets.Errorf(secrets.Malformed, "secret %s (%s): the answer holds no value", s.id, which)
	case out.VersionId == nil || *out.VersionId == "":
		return nil, secrets.Errorf(secrets.Malformed, "secret %s (%s): the answer names no version id", s.id, which)
	}
	c, err := secrets.ParseDocument([]byte(*out.SecretString), s.keys)
	if err != nil {
		version := "version " + *out.VersionId
		if which != version { // a label
			version = which + ", " + version
		}
		return nil, secrets.Errorf(secrets.Malformed, "secret %s (%s): %w", s.id, version, err)
	}
	c.VersionID = *out.VersionId
	return c, nil
}
