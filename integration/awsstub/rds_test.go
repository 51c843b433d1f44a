package awsstub_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

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

// TestPages: lists come in pages of what is asked for, and each entry once.
func TestPages(t *testing.T) {
	s := start(t, awsstub.Options{})
	const n = 250
	for i := range n {
		name := fmt.Sprintf("db-%03d", i)
		s.AddDBInstance(awsstub.DBInstance{Identifier: name, Engine: "postgres", IAM: i == 0, MasterSecret: "arn:secret", Database: "shop", Tags: map[string]string{"team": "shop"}})
		s.AddDBCluster(awsstub.DBCluster{Identifier: name, Engine: "aurora-mysql", Status: "stopped", CustomEndpoints: []string{"own"}, Database: "shop", Tags: map[string]string{"team": "shop"}})
		s.CreateSecret(name, "{}")
	}
	s.Edit("db-007", func(sec *awsstub.Secret) { sec.Deleted = time.Now() })
	db, sm := rds.NewFromConfig(sdk(t, s.Env())), secretsmanager.NewFromConfig(sdk(t, s.Env()))
	wantPages := func(what string, pages, names []string, want int) {
		t.Helper()
		unique := slices.Compact(slices.Sorted(slices.Values(names)))
		if len(names) != want || len(unique) != want || len(pages) != 3 {
			t.Errorf("%s: %d entries, %d of them different, on %d pages", what, len(names), len(unique), len(pages))
		}
	}
	var pages, names []string
	for marker := (*string)(nil); len(pages) == 0 || marker != nil; {
		out, err := db.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{Marker: marker, MaxRecords: aws.Int32(100)})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range out.DBInstances {
			names = append(names, *i.DBInstanceIdentifier)
			if *i.IAMDatabaseAuthenticationEnabled != (*i.DBInstanceIdentifier == "db-000") || *i.MasterUserSecret.SecretArn != "arn:secret" ||
				*i.DBName != "shop" || *i.TagList[0].Value != "shop" {
				t.Fatalf("%+v", i)
			}
		}
		pages, marker = append(pages, aws.ToString(marker)), out.Marker
	}
	wantPages("instances", pages, names, n)
	pages, names = nil, nil
	for marker := (*string)(nil); len(pages) == 0 || marker != nil; {
		out, err := db.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{Marker: marker})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range out.DBClusters {
			names = append(names, *c.DBClusterIdentifier)
			if *c.IAMDatabaseAuthenticationEnabled || c.MasterUserSecret != nil || *c.Status != "stopped" || c.CustomEndpoints[0] != "own" ||
				*c.DatabaseName != "shop" || *c.TagList[0].Key != "team" {
				t.Fatalf("%+v", c)
			}
		}
		pages, marker = append(pages, aws.ToString(marker)), out.Marker
	}
	wantPages("clusters", pages, names, n)
	pages, names = nil, nil
	for token := (*string)(nil); len(pages) == 0 || token != nil; {
		out, err := sm.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{NextToken: token, MaxResults: aws.Int32(100)})
		if err != nil {
			t.Fatal(err)
		}
		for _, sec := range out.SecretList {
			names = append(names, *sec.Name)
		}
		pages, token = append(pages, aws.ToString(token)), out.NextToken
	}
	wantPages("secrets", pages, names, n-1)

	_, err := db.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{MaxRecords: aws.Int32(101)})
	wantAPIError(t, err, "InvalidParameterValue", "MaxRecords")
	_, err = db.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{Marker: aws.String("x")})
	wantAPIError(t, err, "InvalidParameterValue", "marker")
	_, err = sm.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(101)})
	wantAPIError(t, err, "InvalidParameterException", "MaxResults")
}
