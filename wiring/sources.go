package wiring

import (
	"context"
	"errors"
	"fmt"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
	"github.com/credproxy/credproxy/secrets/awssm"
	"github.com/credproxy/credproxy/secrets/env"
	"github.com/credproxy/credproxy/secrets/file"
	"github.com/credproxy/credproxy/secrets/rdsiam"
)

// NewSource returns the one source of credentials that cfg names. observe hears of each
// call to AWS. Sources that are made with the same shared have their AWS configuration in
// common.
func NewSource(ctx context.Context, cfg *config.Database, vars *env.Variables, shared *awscfg.Shared, observe func(string, error)) (secrets.Source, error) {
	c := cfg.Credentials
	switch {
	case c.SecretsManager != nil:
		return awssm.New(ctx, awssm.Options{
			SecretID: c.SecretsManager.SecretID, Region: c.SecretsManager.Region,
			Keys:       secrets.Keys{Username: c.SecretsManager.Keys.Username, Password: c.SecretsManager.Keys.Password},
			AssumeRole: Role(c.SecretsManager.AssumeRole), AWS: shared, Observe: observe,
		})
	case c.IAM != nil:
		return rdsiam.New(ctx, rdsiam.Options{
			User: c.IAM.User, Endpoint: SigningEndpoint(cfg), Region: c.IAM.Region,
			AssumeRole: Role(c.IAM.AssumeRole), AWS: shared, Observe: observe,
		})
	case c.DSQL != nil:
		return rdsiam.NewDSQL(ctx, rdsiam.DSQLOptions{
			User: c.DSQL.User, Host: DSQLEndpoint(cfg), Region: c.DSQL.Region,
			AssumeRole: Role(c.DSQL.AssumeRole), AWS: shared, Observe: observe,
		})
	case c.File != nil:
		return newFile(ctx, "credentials.file.path", c.File.Path, c.File.WorldReadable)
	case c.Env != nil:
		return vars.Source(c.Env.Username, c.Env.Password), nil
	}
	return nil, errors.New("no source of credentials")
}

// newFile returns the source of a file, which may not exist yet. It refuses a file that
// every user of the machine can read.
func newFile(ctx context.Context, key, path string, worldReadable bool) (*file.Source, error) {
	src := file.New(path)
	src.WorldReadable = worldReadable
	if _, err := src.Fetch(ctx, secrets.Current); errors.Is(err, file.ErrWorldReadable) {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return src, nil
}

// NewEmergency returns the source of the emergency credential, nil if cfg names none.
func NewEmergency(ctx context.Context, cfg *config.Database) (*file.Source, error) {
	if cfg.BreakGlass.File == "" {
		return nil, nil
	}
	return newFile(ctx, "break_glass.file", cfg.BreakGlass.File, cfg.BreakGlass.WorldReadable)
}

// WithEvents returns a source that is src and hears of rotations through the queue that
// cfg names; src itself if cfg names none.
func WithEvents(ctx context.Context, queues *awssm.Queues, cfg *config.Database, src secrets.Source, observe func(string, error)) (secrets.Source, error) {
	secret, ok := src.(*awssm.Source)
	if !ok || cfg.Rotation.Events.SQSQueueURL == "" {
		return src, nil
	}
	watched, err := queues.Watch(ctx, secret, cfg.Rotation.Events.SQSQueueURL, observe)
	if err != nil {
		return nil, fmt.Errorf("rotation.events: %w", err)
	}
	return watched, nil
}

// SecretName returns what a person would call the place that a credential comes from.
func SecretName(c config.Credentials) string {
	switch {
	case c.SecretsManager != nil:
		return c.SecretsManager.SecretID
	case c.IAM != nil:
		return "iam:" + c.IAM.User
	case c.DSQL != nil:
		return "dsql:" + c.DSQL.User
	case c.File != nil:
		return "file:" + c.File.Path
	case c.Env != nil:
		return "env:" + c.Env.Password
	}
	return ""
}
