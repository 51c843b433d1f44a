package store

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

// The tags by which a secret that RDS manages says whose master's it is.
const (
	instanceTag = "aws:rds:primaryDBInstanceArn"
	clusterTag  = "aws:rds:primaryDBClusterArn"
)

// ManagedEndpoint returns where the database is whose master's secret RDS manages: the
// tags of the secret lead there.
func (s *Store) ManagedEndpoint(ctx context.Context, d *Secret) (secrets.Endpoint, error) {
	instance, cluster := d.Tags[instanceTag], d.Tags[clusterTag]
	var address *string
	var port *int32
	var engine string
	switch {
	case instance != "":
		out, err := s.rds.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &instance})
		if err != nil {
			return secrets.Endpoint{}, rdsError("DescribeDBInstances", instance, err)
		}
		if len(out.DBInstances) == 1 && out.DBInstances[0].Endpoint != nil {
			i := out.DBInstances[0]
			address, port, engine = i.Endpoint.Address, i.Endpoint.Port, aws.ToString(i.Engine)
		}
	case cluster != "":
		out, err := s.rds.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: &cluster})
		if err != nil {
			return secrets.Endpoint{}, rdsError("DescribeDBClusters", cluster, err)
		}
		if len(out.DBClusters) == 1 {
			c := out.DBClusters[0]
			address, port, engine = c.Endpoint, c.Port, aws.ToString(c.Engine)
		}
	default:
		return secrets.Endpoint{}, secrets.Errorf(secrets.Malformed,
			"secret %s: it names no host, and has no tag of RDS (%s, %s) that would lead to one; add engine and host to it", d.ARN, instanceTag, clusterTag)
	}
	if aws.ToString(address) == "" {
		return secrets.Endpoint{}, secrets.Errorf(secrets.Unavailable, "%s has no endpoint: is it being made, or stopped?", cmp.Or(instance, cluster))
	}
	return secrets.Endpoint{Host: *address, Port: int(aws.ToInt32(port)), Engine: secrets.EngineOf(engine)}, nil
}

// IsReplica reports whether the database at host is a replica of the one at primary: a read
// replica of that instance, or a reader of that cluster.
func (s *Store) IsReplica(ctx context.Context, host, primary string) (bool, error) {
	label, _, _ := strings.Cut(host, ".")
	switch {
	case strings.Contains(host, ".cluster-ro-"):
		return s.isReader(ctx, label, host, primary)
	case strings.Contains(host, ".cluster-custom-"): // has a name of its own before it
		cluster, _, _ := strings.Cut(primary, ".")
		return s.isReader(ctx, cluster, host, primary)
	}
	out, err := s.rds.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &label})
	if err != nil {
		return false, rdsError("DescribeDBInstances", label, err)
	}
	for _, i := range out.DBInstances {
		if i.Endpoint == nil || !sameHost(aws.ToString(i.Endpoint.Address), host) {
			continue
		}
		if cluster := aws.ToString(i.DBClusterIdentifier); cluster != "" {
			return s.isReader(ctx, cluster, "", primary)
		}
		if of := aws.ToString(i.ReadReplicaSourceDBInstanceIdentifier); of != "" {
			source, err := s.rds.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &of})
			if err != nil {
				return false, rdsError("DescribeDBInstances", of, err)
			}
			for _, p := range source.DBInstances {
				if p.Endpoint != nil && sameHost(aws.ToString(p.Endpoint.Address), primary) {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// isReader reports whether primary is the writer's endpoint of a cluster that has host, if
// one is given, as its reader's.
func (s *Store) isReader(ctx context.Context, cluster, host, primary string) (bool, error) {
	out, err := s.rds.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: &cluster})
	if err != nil {
		return false, rdsError("DescribeDBClusters", cluster, err)
	}
	for _, c := range out.DBClusters {
		if sameHost(aws.ToString(c.Endpoint), primary) && (host == "" || isEndpointOf(c, host)) {
			return true, nil
		}
	}
	return false, nil
}

func isEndpointOf(c types.DBCluster, host string) bool {
	if sameHost(aws.ToString(c.ReaderEndpoint), host) {
		return true
	}
	for _, custom := range c.CustomEndpoints {
		if sameHost(custom, host) {
			return true
		}
	}
	return false
}

func sameHost(a, b string) bool {
	return a != "" && strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// SamePlace reports whether two endpoints are one host and port, by name.
func SamePlace(a, b secrets.Endpoint, defaultPort int) bool {
	return sameHost(a.Host, b.Host) && cmp.Or(a.Port, defaultPort) == cmp.Or(b.Port, defaultPort)
}

// Address returns host and port of e as one text.
func Address(e secrets.Endpoint) string {
	if e.Port == 0 {
		return e.Host
	}
	return net.JoinHostPort(e.Host, fmt.Sprint(e.Port))
}

func rdsError(operation, what string, err error) error {
	advice := ""
	reason := awscfg.ReasonOf(err)
	if reason == secrets.Denied {
		advice = "; allow rds:" + operation + " to whoever rotates"
	}
	return secrets.Errorf(reason, "%s of %s: %w%s", operation, what, awscfg.Plain(err), advice)
}
