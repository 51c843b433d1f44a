package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
	"github.com/credproxy/credproxy/secrets/awssm"
	"github.com/credproxy/credproxy/secrets/env"
	"github.com/credproxy/credproxy/secrets/file"
	"github.com/credproxy/credproxy/secrets/rdsiam"
)

// newSource makes the one source of credentials that cfg names.
func newSource(ctx context.Context, cfg *config.Database, vars *env.Variables, observe func(string, error)) (secrets.Source, error) {
	c := cfg.Credentials
	switch {
	case c.SecretsManager != nil:
		return awssm.New(ctx, awssm.Options{
			SecretID: c.SecretsManager.SecretID, Region: c.SecretsManager.Region,
			Keys:       secrets.Keys{Username: c.SecretsManager.Keys.Username, Password: c.SecretsManager.Keys.Password},
			AssumeRole: role(c.SecretsManager.AssumeRole), Observe: observe,
		})
	case c.IAM != nil:
		return rdsiam.New(ctx, rdsiam.Options{
			User: c.IAM.User, Endpoint: signingEndpoint(cfg), Region: c.IAM.Region,
			AssumeRole: role(c.IAM.AssumeRole), Observe: observe,
		})
	case c.File != nil:
		return newFile(ctx, "credentials.file.path", c.File.Path, c.File.WorldReadable)
	case c.Env != nil:
		return vars.Source(c.Env.Username, c.Env.Password), nil
	}
	return nil, errors.New("no source of credentials")
}

// newFile makes a source of a file, which may come later. It refuses one that every
// user of the machine can read.
func newFile(ctx context.Context, key, path string, worldReadable bool) (*file.Source, error) {
	src := file.New(path)
	src.WorldReadable = worldReadable
	if _, err := src.Fetch(ctx, secrets.Current); errors.Is(err, file.ErrWorldReadable) {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return src, nil
}

// newEmergency makes the source of the emergency credential; nil if cfg names none.
func newEmergency(ctx context.Context, cfg *config.Database) (*file.Source, error) {
	if cfg.BreakGlass.File == "" {
		return nil, nil
	}
	return newFile(ctx, "break_glass.file", cfg.BreakGlass.File, cfg.BreakGlass.WorldReadable)
}

// withEvents has src hear of rotations through the queue that cfg names, if any.
func withEvents(ctx context.Context, queues *awssm.Queues, cfg *config.Database, src secrets.Source, observe func(string, error)) (secrets.Source, error) {
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

func role(r config.AssumeRole) awscfg.Role {
	return awscfg.Role{ARN: r.RoleARN, ExternalID: r.ExternalID, SessionName: r.SessionName}
}

// signingEndpoint is the host and port that an IAM token is made for: what the
// configuration says, else where the database is.
func signingEndpoint(cfg *config.Database) string {
	port := cfg.Port
	if port == 0 {
		port = cfg.Engine.Port()
	}
	s := cfg.Credentials.IAM.SigningHost
	if s == "" {
		return net.JoinHostPort(cfg.Host, strconv.Itoa(port))
	}
	if _, _, err := net.SplitHostPort(s); err == nil {
		return s
	}
	// The configured port may be that of a tunnel.
	return net.JoinHostPort(s, strconv.Itoa(cfg.Engine.Port()))
}

// secretName is how a person would call the place that a credential comes from.
func secretName(c config.Credentials) string {
	switch {
	case c.SecretsManager != nil:
		return c.SecretsManager.SecretID
	case c.IAM != nil:
		return "iam:" + c.IAM.User
	case c.File != nil:
		return "file:" + c.File.Path
	case c.Env != nil:
		return "env:" + c.Env.Password
	}
	return ""
}
