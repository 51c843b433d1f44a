package store

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
	"github.com/credproxy/credproxy/secrets/awssm"
)

// Options for [New]. All may be left out.
type Options struct {
	Region   string
	Endpoint string // of Secrets Manager; a URL
}

// Store is Secrets Manager, and RDS for where masters are.
type Store struct {
	secrets *secretsmanager.Client
	rds     *rds.Client
}

// New loads the AWS configuration for secrets of the region that opts names, else of the
// SDK's.
func New(ctx context.Context, opts Options) (*Store, error) {
	cfg, err := awscfg.Load(ctx, awscfg.Options{Region: opts.Region})
	if err != nil {
		return nil, err
	}
	return &Store{
		secrets: secretsmanager.NewFromConfig(cfg.AWS, func(o *secretsmanager.Options) {
			if opts.Endpoint != "" {
				o.BaseEndpoint = &opts.Endpoint
			}
		}),
		rds: rds.NewFromConfig(cfg.AWS),
	}, nil
}

// RegionOf returns the region that the ARN of a secret names, "" for a name.
func RegionOf(secretID string) string {
	a, err := arn.Parse(secretID)
	if err != nil {
		return ""
	}
	return a.Region
}

// Secret is what Secrets Manager says of a secret beside its value.
type Secret struct {
	ARN             string
	RotationEnabled bool
	Function        string // that rotates it, an ARN; empty: none
	Manager         string // the service that manages and rotates it, such as rds; empty: none
	Labels          map[secrets.Stage]string
	Versions        map[string][]string // labels by version id
	Tags            map[string]string
}

// Has reports whether a version carries a label.
func (s *Secret) Has(version string, stage secrets.Stage) bool {
	return slices.Contains(s.Versions[version], string(stage))
}

// Describe returns what is known of a secret.
func (s *Store) Describe(ctx context.Context, id string) (*Secret, error) {
	out, err := s.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		return nil, awssm.Explain(id, "DescribeSecret", "labels", err)
	}
	if out.DeletedDate != nil {
		return nil, secrets.Errorf(secrets.NotFound, "secret %s: it was marked for deletion; restore it", id)
	}
	d := &Secret{
		ARN: aws.ToString(out.ARN), RotationEnabled: aws.ToBool(out.RotationEnabled), Function: aws.ToString(out.RotationLambdaARN), Manager: aws.ToString(out.OwningService),
		Labels: map[secrets.Stage]string{}, Versions: out.VersionIdsToStages, Tags: map[string]string{},
	}
	for version, stages := range out.VersionIdsToStages {
		for _, stage := range stages {
			d.Labels[secrets.Stage(stage)] = version
		}
	}
	for _, tag := range out.Tags {
		d.Tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return d, nil
}

// Version is one version of a secret.
type Version struct {
	ID       string
	Created  time.Time
	Document Document
}

// Get returns the version that carries stage, or has that id, or both. The error has
// reason [secrets.NoVersion] if there is none, or if it has no value yet.
func (s *Store) Get(ctx context.Context, id string, stage secrets.Stage, version string) (*Version, error) {
	in := &secretsmanager.GetSecretValueInput{SecretId: &id}
	which := string(stage)
	if stage != "" {
		in.VersionStage = (*string)(&stage)
	}
	if version != "" {
		in.VersionId = &version
		which += " version " + version
	}
	out, err := s.secrets.GetSecretValue(ctx, in)
	if err != nil {
		return nil, awssm.Explain(id, "GetSecretValue", which, err)
	}
	if out.SecretString == nil {
		return nil, secrets.Errorf(secrets.Malformed, "secret %s (%s): it is binary; store the JSON as a string", id, which)
	}
	return &Version{aws.ToString(out.VersionId), aws.ToTime(out.CreatedDate), NewDocument(*out.SecretString)}, nil
}

// Put stores a new version under AWSPENDING. rotationToken is that of the event, if it
// has one.
func (s *Store) Put(ctx context.Context, id, version, rotationToken string, d Document) error {
	in := &secretsmanager.PutSecretValueInput{
		SecretId: &id, ClientRequestToken: &version, SecretString: aws.String(d.string()),
		VersionStages: []string{string(secrets.Pending)},
	}
	if rotationToken != "" {
		in.RotationToken = &rotationToken
	}
	if _, err := s.secrets.PutSecretValue(ctx, in); err != nil {
		return awssm.Explain(id, "PutSecretValue", "version "+version, err)
	}
	return nil
}

// Move moves a label to a version, away from another. An empty to takes the label away
// altogether; an empty from means that no version has it.
func (s *Store) Move(ctx context.Context, id string, label secrets.Stage, to, from string) error {
	in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &id, VersionStage: aws.String(string(label))}
	if to != "" {
		in.MoveToVersionId = &to
	}
	if from != "" {
		in.RemoveFromVersionId = &from
	}
	if _, err := s.secrets.UpdateSecretVersionStage(ctx, in); err != nil {
		return awssm.Explain(id, "UpdateSecretVersionStage", string(label), err)
	}
	return nil
}

// Rotate has the function that is attached to the secret rotate it, and returns the id of
// the version that it will make.
func (s *Store) Rotate(ctx context.Context, id string) (version string, err error) {
	out, err := s.secrets.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &id})
	if err != nil {
		return "", awssm.Explain(id, "RotateSecret", "rotation", err)
	}
	return aws.ToString(out.VersionId), nil
}

// RandomPassword asks Secrets Manager for a password.
func (s *Store) RandomPassword(ctx context.Context, in *secretsmanager.GetRandomPasswordInput) (string, error) {
	out, err := s.secrets.GetRandomPassword(ctx, in)
	if err != nil {
		return "", secrets.Errorf(awscfg.ReasonOf(err), "GetRandomPassword: %w", awscfg.Plain(err))
	}
	return aws.ToString(out.RandomPassword), nil
}

// Exists reports whether err says that a version of that id has another value.
func Exists(err error) bool {
	return awscfg.HasCode(err, (&types.ResourceExistsException{}).ErrorCode())
}
