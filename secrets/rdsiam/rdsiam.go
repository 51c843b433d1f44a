// Package rdsiam makes tokens for IAM database authentication of RDS and Aurora, and for
// Aurora DSQL: short-lived passwords signed with AWS credentials.
//
// Invariant: a token's Expires is never later than the moment its signing AWS
// credentials expire, because the database refuses it from then on.
//
// Tokens are made here, without a call to AWS, so a token says nothing about
// whether the database will take it. Only those of [Source.At] are kept. The package knows
// no staging label but AWSCURRENT.
package rdsiam

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

const (
	// lifetime of a token ("IAM database authentication" in the RDS user guide; that of the
	// SDK's tokens in "Generating an authentication token in Amazon Aurora DSQL").
	lifetime = 15 * time.Minute
	// margin is kept of the lifetime, for clocks that differ and slow logins.
	margin = time.Minute
	// signerMargin is kept of the life of the AWS credentials that sign.
	signerMargin = 10 * time.Second
	// renewSigner is the life below which AWS credentials are asked for anew: they
	// are so near their end that a token of theirs would be replaced at once
	// (secrets.Cache does so a minute before a token's end).
	renewSigner = time.Minute + 2*signerMargin
)

// Options for [New]. User and Endpoint are required.
type Options struct {
	User string // the database user
	// Endpoint is the host:port to sign: what RDS itself calls the database, not
	// a CNAME or a tunnel in front of it.
	Endpoint   string
	Region     string // default: the endpoint's, else the SDK's
	AssumeRole awscfg.Role
	AWS        *awscfg.Shared // what its configuration is loaded from; nil: it has nothing in common with others
	// Observe, if set, is called after each API call (AssumeRole) with nil or its
	// *secrets.Error. Making a token is not a call.
	Observe func(operation string, err error)
}

// Source signs tokens for one database user. It is a secrets.Source.
type Source struct {
	kind   string
	user   string
	config *awscfg.Config
	sign   func(context.Context, aws.CredentialsProvider) (token string, err error)

	mu    sync.Mutex
	there map[string]*secrets.Credential // the last token of At, by endpoint
}

// New checks opts and loads the AWS configuration.
func New(ctx context.Context, opts Options) (*Source, error) {
	if opts.User == "" {
		return nil, fmt.Errorf("iam: no database user")
	}
	host, port, err := net.SplitHostPort(opts.Endpoint)
	if err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("iam user %s: endpoint %q is not host:port", opts.User, opts.Endpoint)
	}
	host = strings.ToLower(strings.TrimSuffix(host, ".")) // RDS compares it with its own spelling
	region := opts.Region
	if region == "" {
		region = Region(host)
	}
	config, err := opts.AWS.Load(ctx, awscfg.Options{Region: region, Role: opts.AssumeRole, Observe: opts.Observe})
	if err != nil {
		return nil, fmt.Errorf("iam user %s: %w", opts.User, err)
	}
	endpoint := net.JoinHostPort(host, port)
	s := &Source{kind: "iam", user: opts.User, config: config}
	s.sign = s.signFor(endpoint)
	return s, nil
}

// Kind is "iam", or "dsql" for Aurora DSQL.
func (s *Source) Kind() string { return s.kind }

// signFor returns what signs tokens of RDS for an endpoint.
func (s *Source) signFor(endpoint string) func(context.Context, aws.CredentialsProvider) (string, error) {
	return func(ctx context.Context, signer aws.CredentialsProvider) (string, error) {
		return auth.BuildAuthToken(ctx, endpoint, s.config.AWS.Region, s.user, signer)
	}
}

const (
	// maxEndpoints is for how many endpoints At keeps a token.
	maxEndpoints = 64
	// renewToken is the life below which At signs a new one.
	renewToken = time.Minute
)

// At returns a token of RDS for another server of the same database, by its endpoint: the last
// one made for it while that has a minute to live, unless the token in force was made
// later, which a refusal leads to.
func (s *Source) At(ctx context.Context, inForce *secrets.Credential, host string, port int) (*secrets.Credential, error) {
	endpoint := net.JoinHostPort(strings.ToLower(strings.TrimSuffix(host, ".")), strconv.Itoa(port))
	s.mu.Lock()
	last := s.there[endpoint]
	s.mu.Unlock()
	if last != nil && !last.Expired(time.Now().Add(renewToken)) && !inForce.Expires.After(last.Expires) {
		return last, nil
	}
	c, err := s.mint(ctx, s.signFor(endpoint))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.there == nil || len(s.there) >= maxEndpoints {
		s.there = map[string]*secrets.Credential{}
	}
	s.there[endpoint] = c
	return c, nil
}

// Fetch signs a new token.
func (s *Source) Fetch(ctx context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	if stage != secrets.Current {
		return nil, secrets.Errorf(secrets.NoVersion, "%s user %s: tokens have no %s", s.kind, s.user, stage)
	}
	return s.mint(ctx, s.sign)
}

func (s *Source) mint(ctx context.Context, sign func(context.Context, aws.CredentialsProvider) (string, error)) (*secrets.Credential, error) {
	signer, err := s.signer(ctx)
	if err != nil {
		return nil, secrets.Errorf(secrets.ReasonOf(err), "%s user %s: %w", s.kind, s.user, err)
	}
	expires := time.Now().Add(lifetime - margin)
	if signer.CanExpire {
		if last := signer.Expires.Add(-signerMargin); last.Before(expires) {
			expires = last
		}
	}
	token, err := sign(ctx, credentials.StaticCredentialsProvider{Value: signer})
	if err != nil {
		return nil, secrets.Errorf(secrets.Unavailable, "%s user %s: sign a token: %w", s.kind, s.user, err)
	}
	c := secrets.NewCredential(s.user, withPath(token))
	c.UseLocalVersion()
	c.Expires = expires
	return c, nil
}

// withPath writes a token as the AWS CLI does, host/?query: clusters with an internet access
// gateway refuse the SDK's form, which has no slash (aws-sdk-go-v2, issue 3365). The slash
// is part of what is signed, in either form (SigV4, "Create a canonical request").
func withPath(token string) string {
	if host, query, ok := strings.Cut(token, "?"); ok && !strings.HasSuffix(host, "/") {
		return host + "/?" + query
	}
	return token
}

// signer is a set of AWS credentials with some life left. Near their end it asks
// once for others; those that are not newer will do while they live.
func (s *Source) signer(ctx context.Context) (aws.Credentials, error) {
	creds, err := s.config.Credentials(ctx)
	if err == nil && left(creds) < renewSigner {
		s.config.Invalidate(creds)
		creds, err = s.config.Credentials(ctx)
	}
	if err != nil {
		return aws.Credentials{}, err
	}
	if !creds.HasKeys() {
		return aws.Credentials{}, secrets.Errorf(secrets.Unavailable, "the AWS credentials to sign tokens with are empty")
	}
	if left(creds) <= signerMargin {
		return aws.Credentials{}, secrets.Errorf(secrets.Unavailable,
			"the AWS credentials to sign tokens with expire at %s and their source has no newer ones", creds.Expires.UTC().Format(time.RFC3339))
	}
	return creds, nil
}

// left is how long creds live; a day for those that do not expire.
func left(creds aws.Credentials) time.Duration {
	if !creds.CanExpire {
		return 24 * time.Hour
	}
	return time.Until(creds.Expires)
}

// rdsHost matches the endpoints of instances, clusters and proxies; the second
// form is China's (".rds.cn-north-1.amazonaws.com.cn").
var rdsHost = regexp.MustCompile(`(?i)\.([a-z]{2,}(?:-[a-z]+)+-[0-9]+)\.rds\.amazonaws\.com(?:\.cn)?$|\.rds\.(cn-[a-z]+-[0-9]+)\.amazonaws\.com\.cn$`)

// Region returns the region in the host name of an RDS endpoint, or "".
func Region(host string) string {
	m := rdsHost.FindStringSubmatch(strings.TrimSuffix(host, "."))
	if m == nil {
		return ""
	}
	return strings.ToLower(m[1] + m[2])
}
