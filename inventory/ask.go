package inventory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

const (
	// attempts is how often a call that AWS throttles is made by default, with pauses of up to
	// 20 s between.
	attempts = 10
	// maxPages caps the pages of one list, of up to 100 entries each.
	maxPages = 500
	// pageSize is the most that RDS and Secrets Manager put on a page.
	pageSize = 100
	// batchSize is the most secrets that BatchGetSecretValue takes.
	batchSize = 20
)

// Options say whom to ask, and as whom.
type Options struct {
	AWS         *awscfg.Shared                    // loads the configuration of AWS; nil: nothing is shared
	Region      string                            // default: the SDK's
	Role        awscfg.Role                       // to assume first
	ReadSecrets bool                              // read the values of secrets that nothing else attaches to a database
	Memory      *Memory                           // what the values of secrets name, from one Client to the next; nil: this one's alone
	Attempts    int                               // how often a call that AWS throttles is made; default 10
	Called      func(operation string, err error) // hears of each call; nil: nobody does
}

// Account is what AWS says of the databases of one account and region.
type Account struct {
	Region    string
	Clusters  []rdstypes.DBCluster
	Instances []rdstypes.DBInstance
	Secrets   []smtypes.SecretListEntry
	// Hosts are those that the values of secrets name, by the ARN of the secret; nil: no value
	// was read.
	Hosts    map[string]string
	Failures []Failure
}

// Failure is a call that did not tell all that it could have.
type Failure struct {
	Call   string // such as rds:DescribeDBClusters
	Err    error
	Single bool // of single secrets, whose values cannot be read; all else was told
}

func (f Failure) String() string { return f.Call + ": " + awscfg.Plain(f.Err).Error() }

// Error and Unwrap make it an error, where nothing was told at all.
func (f Failure) Error() string { return f.String() }
func (f Failure) Unwrap() error { return f.Err }

// Client asks one account and region, as often as it is told to.
type Client struct {
	options Options
	config  *awscfg.Config

	// The calls, in place of the SDK's clients: these stay out of interfaces, and so of the
	// SDK's paginators and of whatever an interface leads to, as it may to a Client. The linker
	// would keep each of their methods, 7 MB.
	clusters  func(context.Context, *rds.DescribeDBClustersInput, ...func(*rds.Options)) (*rds.DescribeDBClustersOutput, error)
	instances func(context.Context, *rds.DescribeDBInstancesInput, ...func(*rds.Options)) (*rds.DescribeDBInstancesOutput, error)
	list      func(context.Context, *secretsmanager.ListSecretsInput, ...func(*secretsmanager.Options)) (*secretsmanager.ListSecretsOutput, error)
	values    func(context.Context, *secretsmanager.BatchGetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.BatchGetSecretValueOutput, error)
}

// Memory is what the values of secrets name, so that each is read once.
type Memory struct {
	mu   sync.Mutex
	read map[string]readHost // by the ARN of a secret
}

// readHost is the host that a secret's value names, "" if it names none.
type readHost struct {
	host    string
	changed time.Time // the secret, when its value was read
}

// NewClient loads the AWS configuration. It asks the network for no more than that.
func NewClient(ctx context.Context, o Options) (*Client, error) {
	cfg, err := o.AWS.Load(ctx, awscfg.Options{Region: o.Region, Role: o.Role})
	if err != nil {
		return nil, err
	}
	o.Attempts = cmp.Or(o.Attempts, attempts)
	o.Memory = cmp.Or(o.Memory, new(Memory))
	if o.Called == nil {
		o.Called = func(string, error) {}
	}
	db := rds.NewFromConfig(cfg.AWS, func(s *rds.Options) { s.RetryMaxAttempts = o.Attempts })
	sm := secretsmanager.NewFromConfig(cfg.AWS, func(s *secretsmanager.Options) { s.RetryMaxAttempts = o.Attempts })
	return &Client{
		options: o, config: cfg,
		clusters: db.DescribeDBClusters, instances: db.DescribeDBInstances, list: sm.ListSecrets, values: sm.BatchGetSecretValue,
	}, nil
}

// Ask asks AWS for databases and secrets, page by page: DescribeDBClusters,
// DescribeDBInstances, ListSecrets and, with ReadSecrets, BatchGetSecretValue. It asks for
// all engines: some that DescribeDBInstances knows it refuses as a filter, depending on
// the region. The error is that of the AWS credentials, or of all calls.
func (c *Client) Ask(ctx context.Context) (*Account, error) {
	if _, err := c.config.Credentials(ctx); err != nil {
		return nil, err
	}
	a := &Account{Region: c.config.AWS.Region}
	a.try("rds:DescribeDBClusters", pages(func(marker *string) (*string, error) {
		out, err := c.clusters(ctx, &rds.DescribeDBClustersInput{Marker: marker, MaxRecords: aws.Int32(pageSize)})
		c.options.Called("DescribeDBClusters", err)
		if err != nil {
			return nil, err
		}
		for _, c := range out.DBClusters {
			a.Clusters = append(a.Clusters, keptCluster(c))
		}
		return out.Marker, nil
	}))
	a.try("rds:DescribeDBInstances", pages(func(marker *string) (*string, error) {
		out, err := c.instances(ctx, &rds.DescribeDBInstancesInput{Marker: marker, MaxRecords: aws.Int32(pageSize)})
		c.options.Called("DescribeDBInstances", err)
		if err != nil {
			return nil, err
		}
		for _, i := range out.DBInstances {
			a.Instances = append(a.Instances, keptInstance(i))
		}
		return out.Marker, nil
	}))
	a.try("secretsmanager:ListSecrets", pages(func(token *string) (*string, error) {
		out, err := c.list(ctx, &secretsmanager.ListSecretsInput{NextToken: token, MaxResults: aws.Int32(pageSize)})
		c.options.Called("ListSecrets", err)
		if err != nil {
			return nil, err
		}
		for _, s := range out.SecretList {
			a.Secrets = append(a.Secrets, keptSecret(s))
		}
		return out.NextToken, nil
	}))
	const calls = 3
	if len(a.Failures) == calls {
		return nil, fmt.Errorf("AWS tells nothing of this account: %w", a.Failures[0])
	}
	if c.options.ReadSecrets {
		c.readHosts(ctx, a)
	}
	return a, nil
}

func (a *Account) try(call string, err error) {
	if err != nil {
		a.Failures = append(a.Failures, Failure{Call: call, Err: err})
	}
}

// pages calls page with what the one before it returned, until that is nothing. What the
// pages before an error held stays.
func pages(page func(marker *string) (next *string, err error)) error {
	var marker *string
	for range maxPages {
		next, err := page(marker)
		if err != nil || aws.ToString(next) == "" {
			return err
		}
		marker = next
	}
	return fmt.Errorf("more than %d pages; the rest is left out", maxPages)
}

// readHosts reads the secrets that say by their value alone whose they are: those that are
// new, or have changed since they were read. One that cannot be read any more names what
// it named.
func (c *Client) readHosts(ctx context.Context, a *Account) {
	memory, partial := c.options.Memory, len(a.Failures) > 0
	memory.mu.Lock()
	defer memory.mu.Unlock()
	known, unread := map[string]readHost{}, map[string]time.Time{}
	for _, s := range a.Secrets {
		if databaseOf(s) != "" || aws.ToString(s.OwningService) != "" {
			continue
		}
		arn, changed := aws.ToString(s.ARN), aws.ToTime(s.LastChangedDate)
		before, was := memory.read[arn]
		if was {
			known[arn] = before
		}
		if !was || changed.IsZero() || !changed.Equal(before.changed) {
			unread[arn] = changed
		}
	}
	c.readValues(ctx, a, known, unread)
	a.Hosts = map[string]string{}
	if partial { // then the list of secrets may lack some that are still there
		for arn, of := range memory.read {
			if _, listed := known[arn]; !listed {
				known[arn] = of
			}
		}
	}
	memory.read = known
	for arn, of := range known {
		a.Hosts[arn] = of.host
	}
}

// readValues puts what the values of the secrets unread name into known.
func (c *Client) readValues(ctx context.Context, a *Account, known map[string]readHost, unread map[string]time.Time) {
	const call = "secretsmanager:BatchGetSecretValue"
	refused := 0
	var first error
	for some := range slices.Chunk(slices.Sorted(maps.Keys(unread)), batchSize) {
		out, err := c.values(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: some})
		c.options.Called("BatchGetSecretValue", err)
		if err != nil {
			a.try(call, err)
			return
		}
		for _, e := range out.Errors {
			if refused++; first == nil {
				first = fmt.Errorf("%s: %s", aws.ToString(e.ErrorCode), aws.ToString(e.Message))
			}
		}
		for _, v := range out.SecretValues {
			arn, host := aws.ToString(v.ARN), ""
			// What is no secret of a database is of no use here.
			if credential, err := secrets.ParseDocument([]byte(aws.ToString(v.SecretString)), secrets.Keys{}); err == nil {
				host = strings.ToLower(credential.Endpoint.Host)
			}
			known[arn] = readHost{host, unread[arn]}
		}
	}
	if first != nil {
		a.Failures = append(a.Failures, Failure{call, fmt.Errorf("%d of %d secrets cannot be read, the first: %w", refused, len(unread), first), true})
	}
}
