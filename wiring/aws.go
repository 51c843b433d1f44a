package wiring

import (
	"cmp"
	"context"
	"net"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

// Role returns the role to assume, in the terms of package awscfg.
func Role(r config.AssumeRole) awscfg.Role {
	return awscfg.Role{ARN: r.RoleARN, ExternalID: r.ExternalID, SessionName: r.SessionName}
}

// SigningEndpoint returns the host and port that an IAM token is made for: what the
// configuration says, else where the database is.
func SigningEndpoint(cfg *config.Database) string {
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

// DSQLEndpoint returns the name of a cluster of Aurora DSQL, which its tokens are made for:
// the one by which TLS finds it.
func DSQLEndpoint(cfg *config.Database) string { return cmp.Or(cfg.TLS.ServerName, cfg.Host) }

// DescribeSecret asks Secrets Manager about a secret, not for its value.
func DescribeSecret(ctx context.Context, s *config.SecretsManager) (*secretsmanager.DescribeSecretOutput, error) {
	cfg, err := awscfg.Load(ctx, awscfg.Options{Region: s.Region, Role: Role(s.AssumeRole)})
	if err != nil {
		return nil, err
	}
	return secretsmanager.NewFromConfig(cfg.AWS).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &s.SecretID})
}
