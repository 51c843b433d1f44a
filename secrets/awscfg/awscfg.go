// Package awscfg loads the AWS configuration that the AWS sources of credentials
// share: a region, AWS credentials from the SDK's own chain (environment, shared
// files, web identity, ECS, EKS, EC2) and, on top of them, an assumed role.
//
// Invariant: its errors are *secrets.Error, say what an operator would do, and
// never show a key, a session token or the output of a credential process.
//
// It makes no call to a service but STS, and EC2's metadata for the region.
package awscfg

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/secrets"
)

const (
	// maxAttempts is small because secrets.Cache retries with its own backoff.
	maxAttempts = 2
	// exchangeTimeout ends one HTTP exchange. The SDK fetches AWS credentials
	// without the caller's deadline and lets later callers wait for that fetch:
	// unbounded, one dead connection would stop them all. Two attempts fit into
	// the time that secrets.Cache gives a fetch.
	exchangeTimeout = 4 * time.Second
	// metadataTimeout is how long EC2's metadata may take to name the region.
	metadataTimeout = 2 * time.Second
	// roleDuration is the shortest maximum a role can have, and the longest that
	// chained roles can.
	roleDuration = time.Hour
)

// Role is a role to assume. The zero value assumes none.
type Role struct {
	ARN         string
	ExternalID  string
	SessionName string // default: credproxy
}

// Options for [Load].
type Options struct {
	Region string // default: what the SDK finds, then that of the EC2 instance
	Role   Role
	// Observe, if set, is called after each AssumeRole with its outcome.
	Observe func(operation string, err error)
}

// Config is a loaded AWS configuration.
type Config struct {
	// AWS makes service clients. Its credentials are those of the assumed role.
	AWS aws.Config

	signer  *signer
	observe func(operation string, err error) // may be nil
}

// Load reads the environment and the shared files. It asks the network only
// where nothing else names a region; credentials are fetched when first needed.
func Load(ctx context.Context, opts Options) (*Config, error) { return new(Shared).Load(ctx, opts) }

// loadBase loads what all roles of a region have in common.
func loadBase(ctx context.Context, region string, log *zap.Logger) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRegion(region),
		config.WithRetryMaxAttempts(maxAttempts),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(exchangeTimeout)),
	}
	if log != nil {
		options = append(options, config.WithLogger(sdkLog(log)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return cfg, secrets.Errorf(secrets.Unavailable, "load AWS configuration: %w", err)
	}
	cfg.HTTPClient = plainBody{cfg.HTTPClient}
	if cfg.Region == "" {
		cfg.Region, err = instanceRegion(ctx, cfg)
	}
	return cfg, err
}

// plainBody hides from package net/http that the SDK's bodies of requests implement
// io.WriterTo. Theirs answers io.EOF once the SDK has closed the body, as it does when the
// response has begun; net/http may ask a moment later whether there is more of it, takes the
// EOF for a failed write, and closes the connection while the response is read.
type plainBody struct{ aws.HTTPClient }

// Do implements aws.HTTPClient.
func (c plainBody) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.HTTPClient.Do(r)
}

func instanceRegion(ctx context.Context, cfg aws.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	out, err := imds.NewFromConfig(cfg).GetRegion(ctx, &imds.GetRegionInput{})
	if err != nil {
		return "", &secrets.Error{
			Reason: secrets.Unavailable, Hint: "Set region in the configuration of credproxy, or AWS_REGION.",
			Err: fmt.Errorf("no AWS region: set region in the configuration or AWS_REGION (EC2 metadata: %w)", err),
		}
	}
	return out.Region, nil
}

// Credentials returns AWS credentials, fetched anew if the last ones expired.
func (c *Config) Credentials(ctx context.Context) (aws.Credentials, error) {
	creds, err := c.signer.retrieve(context.WithValue(ctx, observer{}, c.observe))
	if err != nil {
		return aws.Credentials{}, explain(err)
	}
	return creds, nil
}

// Invalidate makes the next call of Credentials fetch them anew, unless that was done
// since it returned used.
func (c *Config) Invalidate(used aws.Credentials) { c.signer.invalidate(used) }

// base is the SDK's credential chain with errors explained.
type base struct{ chain aws.CredentialsProvider }

func (b base) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := b.chain.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, explainChain(err)
	}
	return creds, nil
}

// assumedRole is a role on top of base credentials.
type assumedRole struct {
	base aws.CredentialsProvider
	role *stscreds.AssumeRoleProvider
	arn  string
}

func assume(cfg aws.Config, base aws.CredentialsProvider, to Role) assumedRole {
	cfg.Credentials = base
	role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), to.ARN, func(o *stscreds.AssumeRoleOptions) {
		o.Duration = roleDuration
		if o.RoleSessionName = to.SessionName; o.RoleSessionName == "" {
			o.RoleSessionName = "credproxy"
		}
		if to.ExternalID != "" {
			o.ExternalID = &to.ExternalID
		}
	})
	return assumedRole{base, role, to.ARN}
}

// observer is the key of what a context says hears of the call to AssumeRole: of those
// that share a role, the one whose call it is.
type observer struct{}

// Retrieve asks for the base credentials first, so that their absence is not
// taken for a refusal of the role.
func (a assumedRole) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if _, err := a.base.Retrieve(ctx); err != nil {
		return aws.Credentials{}, err
	}
	creds, err := a.role.Retrieve(ctx)
	if err != nil {
		err = explainRole(a.arn, err)
	}
	if observe, _ := ctx.Value(observer{}).(func(string, error)); observe != nil {
		observe("AssumeRole", err)
	}
	return creds, err
}

func explainRole(arn string, err error) error {
	e := &secrets.Error{Reason: ReasonOf(err), Err: fmt.Errorf("assume role %s: %w", arn, Plain(err))}
	if e.Reason == secrets.Denied {
		e.Err = fmt.Errorf("%w; allow sts:AssumeRole and sts:TagSession on the role, and have its trust policy name the caller and the external id, as credproxy policy prints it with --trust role", e.Err)
		e.Hint = "Allow credproxy to take the role of assume_role, and see that the role trusts it; the log of credproxy names the role."
	}
	return e
}
