package awsstub_test

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/credproxy/credproxy/integration/awsstub"
)

func TestDescribeDatabases(t *testing.T) {
	var asked []string
	allow := true
	s := start(t, awsstub.Options{Identities: []awsstub.Identity{{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "k",
		Allow: func(action, resource string) bool { asked = append(asked, action+" "+resource); return allow }}}})
	s.AddDBInstance(awsstub.DBInstance{Identifier: "orders", Host: "old", Port: 1})
	s.AddDBInstance(awsstub.DBInstance{Identifier: "orders", Host: "orders.abc.eu-west-1.rds.amazonaws.com", Port: 5432, Engine: "postgres"})
	s.AddDBInstance(awsstub.DBInstance{Identifier: "copy", Engine: "postgres", ReplicaSource: "orders"})
	s.AddDBInstance(awsstub.DBInstance{Identifier: "shop-1", Engine: "aurora-mysql", Cluster: "shop"})
	s.AddDBCluster(awsstub.DBCluster{Identifier: "shop", ARN: "arn:aws:rds:eu-west-1:123456789012:cluster:shop", Endpoint: "shop.cluster-abc",
		ReaderEndpoint: "shop.cluster-ro-abc", Port: 3306, Engine: "aurora-mysql"})
	c := rds.NewFromConfig(sdk(t, s.Env()))
	ctx := t.Context()

	const ordersARN = "arn:aws:rds:eu-west-1:123456789012:db:orders"
	for _, name := range []string{"orders", "Orders", ordersARN} {
		out, err := c.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &name})
		if err != nil || len(out.DBInstances) != 1 {
			t.Fatalf("%s: %v, %v", name, out, err)
		}
		i := out.DBInstances[0]
		if *i.DBInstanceIdentifier != "orders" || *i.DBInstanceArn != ordersARN || *i.Endpoint.Address != "orders.abc.eu-west-1.rds.amazonaws.com" ||
			*i.Endpoint.Port != 5432 || *i.Engine != "postgres" || i.ReadReplicaSourceDBInstanceIdentifier != nil || i.ReadReplicaDBInstanceIdentifiers[0] != "copy" {
			t.Errorf("%s: %+v", name, i)
		}
	}
	all, err := c.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{})
	if err != nil || len(all.DBInstances) != 3 || *all.DBInstances[1].ReadReplicaSourceDBInstanceIdentifier != "orders" || all.DBInstances[1].Endpoint != nil {
		t.Errorf("all: %+v, %v", all, err)
	}
	some, err := c.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{Filters: []types.Filter{{Name: aws.String("db-instance-id"), Values: []string{"copy", ordersARN}}}})
	if err != nil || len(some.DBInstances) != 2 {
		t.Errorf("some: %+v, %v", some, err)
	}
	_, err = c.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{Filters: []types.Filter{{Name: aws.String("vpc"), Values: []string{"x"}}}})
	wantAPIError(t, err, "InvalidParameterValue", "vpc")

	clusters, err := c.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: aws.String("arn:aws:rds:eu-west-1:123456789012:cluster:shop")})
	if err != nil || len(clusters.DBClusters) != 1 {
		t.Fatalf("cluster: %+v, %v", clusters, err)
	}
	if cl := clusters.DBClusters[0]; *cl.DBClusterIdentifier != "shop" || *cl.Endpoint != "shop.cluster-abc" || *cl.ReaderEndpoint != "shop.cluster-ro-abc" ||
		*cl.Port != 3306 || *cl.Engine != "aurora-mysql" || *cl.DBClusterMembers[0].DBInstanceIdentifier != "shop-1" || !*cl.DBClusterMembers[0].IsClusterWriter {
		t.Errorf("cluster: %+v", cl)
	}

	_, err = c.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: aws.String("none")})
	wantAPIError(t, err, "DBInstanceNotFound", "DBInstance none not found.")
	if fault := (*types.DBInstanceNotFoundFault)(nil); !errors.As(err, &fault) {
		t.Errorf("error %T", err)
	}
	wantStatus(t, err, 404)
	_, err = c.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: aws.String("none")})
	if fault := (*types.DBClusterNotFoundFault)(nil); !errors.As(err, &fault) {
		t.Errorf("error %v", err)
	}

	allow, asked = false, nil
	_, err = c.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: aws.String("orders")})
	wantAPIError(t, err, "AccessDenied", "rds:DescribeDBInstances on resource: "+ordersARN)
	_, err = c.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{})
	wantAPIError(t, err, "AccessDenied", "rds:DescribeDBClusters on resource: arn:aws:rds:eu-west-1:123456789012:cluster:*")
}
