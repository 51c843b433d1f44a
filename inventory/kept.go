package inventory

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// What is kept of an answer is what [Account.Plan] uses: answers stay in memory as long as
// credproxy runs, and an account may have thousands of databases of others.

func keptCluster(c rdstypes.DBCluster) rdstypes.DBCluster {
	return rdstypes.DBCluster{
		DBClusterIdentifier: c.DBClusterIdentifier, DBClusterArn: c.DBClusterArn, Engine: c.Engine, Status: c.Status, ClusterCreateTime: c.ClusterCreateTime,
		Endpoint: c.Endpoint, ReaderEndpoint: c.ReaderEndpoint, CustomEndpoints: c.CustomEndpoints, Port: c.Port, DatabaseName: c.DatabaseName,
		IAMDatabaseAuthenticationEnabled: c.IAMDatabaseAuthenticationEnabled, MasterUserSecret: c.MasterUserSecret, DBClusterMembers: c.DBClusterMembers, TagList: c.TagList,
	}
}

func keptInstance(i rdstypes.DBInstance) rdstypes.DBInstance {
	return rdstypes.DBInstance{
		DBInstanceIdentifier: i.DBInstanceIdentifier, DBInstanceArn: i.DBInstanceArn, Engine: i.Engine, DBInstanceStatus: i.DBInstanceStatus, InstanceCreateTime: i.InstanceCreateTime,
		DBClusterIdentifier: i.DBClusterIdentifier, ReadReplicaSourceDBInstanceIdentifier: i.ReadReplicaSourceDBInstanceIdentifier, Endpoint: i.Endpoint, DBName: i.DBName,
		IAMDatabaseAuthenticationEnabled: i.IAMDatabaseAuthenticationEnabled, MasterUserSecret: i.MasterUserSecret, TagList: i.TagList,
	}
}

func keptSecret(s smtypes.SecretListEntry) smtypes.SecretListEntry {
	return smtypes.SecretListEntry{
		ARN: s.ARN, Name: s.Name, OwningService: s.OwningService, LastChangedDate: s.LastChangedDate, DeletedDate: s.DeletedDate,
		Tags: slices.DeleteFunc(s.Tags, func(t smtypes.Tag) bool { return !slices.Contains(owningTags, aws.ToString(t.Key)) }),
	}
}
