package rdsiam

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	dsql "github.com/aws/aws-sdk-go-v2/feature/dsql/auth"

	"github.com/credproxy/credproxy/secrets/awscfg"
)

// dsqlAdmin is the role whose logins are an action of their own, dsql:DbConnectAdmin
// ("Authentication and authorization for Aurora DSQL" in its user guide).
const dsqlAdmin = "admin"

// DSQLOptions are for [NewDSQL]. User and Host are required.
type DSQLOptions struct {
	User       string // the database role; admin for the administrator
	Host       string // the cluster's endpoint, by which TLS names it too
	Region     string // default: the SDK's
	AssumeRole awscfg.Role
	AWS        *awscfg.Shared                    // as in Options
	Observe    func(operation string, err error) // as in Options
}

// NewDSQL returns the source of tokens for a cluster of Aurora DSQL. Such a token names
// the cluster and whether it is for the administrator, but no other role: which of them
// the AWS credentials may log in as, the cluster knows by AWS IAM GRANT.
func NewDSQL(ctx context.Context, opts DSQLOptions) (*Source, error) {
	if opts.User == "" || opts.Host == "" {
		return nil, fmt.Errorf("dsql: database role %q, host %q: one is missing", opts.User, opts.Host)
	}
	config, err := opts.AWS.Load(ctx, awscfg.Options{Region: opts.Region, Role: opts.AssumeRole, Observe: opts.Observe})
	if err != nil {
		return nil, fmt.Errorf("dsql user %s: %w", opts.User, err)
	}
	generate := dsql.GenerateDbConnectAuthToken
	if opts.User == dsqlAdmin {
		generate = dsql.GenerateDBConnectAdminAuthToken
	}
	host := strings.ToLower(strings.TrimSuffix(opts.Host, "."))
	return &Source{kind: "dsql", user: opts.User, config: config, sign: func(ctx context.Context, signer aws.CredentialsProvider) (string, error) {
		return generate(ctx, host, config.AWS.Region, signer)
	}}, nil
}
