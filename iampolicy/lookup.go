package iampolicy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/secrets/awscfg"
	"github.com/credproxy/credproxy/wiring"
)

// lookUpTimeout bounds what is asked about one database.
const lookUpTimeout = 20 * time.Second

// LookUp asks AWS for what facts leave open. What cannot be had stays open, and failures
// says why.
func LookUp(ctx context.Context, cfg *config.Config, facts *Facts) (failures []string) {
	if err := facts.lookUpAccount(ctx); err != nil {
		failures = append(failures, fmt.Sprintf("this AWS account is not known: %v", awscfg.Plain(err)))
	}
	for i := range cfg.Databases {
		db := &cfg.Databases[i]
		known := facts.Databases[db.Name]
		if err := known.lookUp(ctx, db); err != nil {
			failures = append(failures, fmt.Sprintf("database %s: %v", db.Name, awscfg.Plain(err)))
		}
		facts.Databases[db.Name] = known
	}
	return failures
}

func (f *Facts) lookUpAccount(ctx context.Context) error {
	if f.Account != "" && f.Region != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	c, err := awscfg.Load(ctx, awscfg.Options{Region: f.Region})
	if err != nil {
		return err
	}
	f.Region = c.AWS.Region
	if f.Account != "" {
		return nil
	}
	caller, err := sts.NewFromConfig(c.AWS).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return err
	}
	f.Account = aws.ToString(caller.Account)
	return nil
}

func (d *DatabaseFacts) lookUp(ctx context.Context, db *config.Database) error {
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	switch c := db.Credentials; {
	case c.SecretsManager != nil:
		return d.lookUpSecret(ctx, c.SecretsManager)
	case c.IAM != nil && d.ResourceID == "":
		host, _, _ := net.SplitHostPort(wiring.SigningEndpoint(db))
		cfg, err := awscfg.Load(ctx, awscfg.Options{Region: c.IAM.Region, Role: wiring.Role(c.IAM.AssumeRole)})
		if err != nil {
			return err
		}
		return d.lookUpEndpoint(ctx, rds.NewFromConfig(cfg.AWS), host)
	}
	return nil
}

func (d *DatabaseFacts) lookUpSecret(ctx context.Context, s *config.SecretsManager) error {
	out, err := wiring.DescribeSecret(ctx, s)
	if err != nil {
		return fmt.Errorf("describe secret %s: %w", s.SecretID, err)
	}
	d.SecretARN, d.RotationFunction = aws.ToString(out.ARN), aws.ToString(out.RotationLambdaARN)
	if d.KMSKey == "" {
		// Missing for a secret under aws/secretsmanager.
		d.KMSKey = aws.ToString(out.KmsKeyId)
		if d.KMSKey == "" || strings.HasSuffix(d.KMSKey, "alias/aws/secretsmanager") {
			d.KMSKey = noKey
		}
	}
	return nil
}

var resourceID = regexp.MustCompile(`^(db|cluster|prx)-[A-Za-z0-9]+$`)

// IsResourceID reports whether s has the form of a database's resource id.
func IsResourceID(s string) bool { return resourceID.MatchString(s) }

// rdsEndpoint matches the host names of RDS and Aurora: NAME.ID or NAME.KIND-ID.
var rdsEndpoint = regexp.MustCompile(`(?i)^([a-z0-9-]+)\.(?:(cluster|cluster-ro|cluster-custom|proxy|endpoint\.proxy)-)?[a-z0-9]+\.(?:[a-z0-9-]+\.rds|rds\.[a-z0-9-]+)\.`)

// lookUpEndpoint finds the resource id of the instance, cluster or proxy that has
// this host name.
func (d *DatabaseFacts) lookUpEndpoint(ctx context.Context, client *rds.Client, host string) error {
	m := rdsEndpoint.FindStringSubmatch(host)
	if m == nil {
		return fmt.Errorf("%s is no host name of RDS, so AWS cannot be asked for its resource id; give --resource-id, or set signing_host to the endpoint", host)
	}
	name, kind := m[1], strings.ToLower(m[2])
	switch kind {
	case "":
		return d.lookUpInstance(ctx, client, name)
	case "cluster-custom":
		out, err := client.DescribeDBClusterEndpoints(ctx, &rds.DescribeDBClusterEndpointsInput{DBClusterEndpointIdentifier: &name})
		if err != nil {
			return fmt.Errorf("describe cluster endpoint %s: %w", name, err)
		}
		if len(out.DBClusterEndpoints) == 0 {
			return fmt.Errorf("no cluster endpoint %s", name)
		}
		return d.lookUpCluster(ctx, client, aws.ToString(out.DBClusterEndpoints[0].DBClusterIdentifier))
	case "endpoint.proxy":
		out, err := client.DescribeDBProxyEndpoints(ctx, &rds.DescribeDBProxyEndpointsInput{DBProxyEndpointName: &name})
		if err != nil {
			return fmt.Errorf("describe proxy endpoint %s: %w", name, err)
		}
		if len(out.DBProxyEndpoints) == 0 {
			return fmt.Errorf("no proxy endpoint %s", name)
		}
		return d.lookUpProxy(ctx, client, aws.ToString(out.DBProxyEndpoints[0].DBProxyName))
	case "proxy":
		return d.lookUpProxy(ctx, client, name)
	}
	return d.lookUpCluster(ctx, client, name)
}

// lookUpInstance takes the cluster's id for an instance of a cluster: logins are
// allowed for the cluster as a whole.
func (d *DatabaseFacts) lookUpInstance(ctx context.Context, client *rds.Client, name string) error {
	out, err := client.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &name})
	if err != nil {
		return fmt.Errorf("describe instance %s: %w", name, err)
	}
	if len(out.DBInstances) == 0 {
		return fmt.Errorf("no instance %s", name)
	}
	i := out.DBInstances[0]
	if cluster := aws.ToString(i.DBClusterIdentifier); cluster != "" {
		return d.lookUpCluster(ctx, client, cluster)
	}
	return d.found(i.DBInstanceArn, aws.ToString(i.DbiResourceId))
}

func (d *DatabaseFacts) lookUpCluster(ctx context.Context, client *rds.Client, name string) error {
	out, err := client.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: &name})
	if err != nil {
		return fmt.Errorf("describe cluster %s: %w", name, err)
	}
	if len(out.DBClusters) == 0 {
		return fmt.Errorf("no cluster %s", name)
	}
	return d.found(out.DBClusters[0].DBClusterArn, aws.ToString(out.DBClusters[0].DbClusterResourceId))
}

// lookUpProxy takes the id out of the ARN: arn:aws:rds:REGION:ACCOUNT:db-proxy:prx-ID.
func (d *DatabaseFacts) lookUpProxy(ctx context.Context, client *rds.Client, name string) error {
	out, err := client.DescribeDBProxies(ctx, &rds.DescribeDBProxiesInput{DBProxyName: &name})
	if err != nil {
		return fmt.Errorf("describe proxy %s: %w", name, err)
	}
	if len(out.DBProxies) == 0 {
		return fmt.Errorf("no proxy %s", name)
	}
	id := aws.ToString(out.DBProxies[0].DBProxyArn)
	return d.found(&id, id[strings.LastIndexByte(id, ':')+1:])
}

func (d *DatabaseFacts) found(id *string, resource string) error {
	parsed, err := arn.Parse(aws.ToString(id))
	if err != nil || !resourceID.MatchString(resource) {
		return errors.New("AWS named no resource id")
	}
	d.ResourceID, d.Account = resource, parsed.AccountID
	return nil
}
