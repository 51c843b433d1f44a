package awsstub

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const rds = "rds"

// DBInstance is an instance as RDS describes it.
type DBInstance struct {
	Identifier, ARN string // default of ARN: one made of the identifier
	Host            string
	Port            int
	Engine          string // such as postgres
	ReplicaSource   string // ReadReplicaSourceDBInstanceIdentifier, of a replica
	Cluster         string // of Aurora: the cluster's identifier
}

// DBCluster is a cluster as RDS describes it.
type DBCluster struct {
	Identifier, ARN          string // default of ARN: one made of the identifier
	Endpoint, ReaderEndpoint string // hosts
	Port                     int
	Engine                   string // such as aurora-postgresql
}

// databases are what RDS knows.
type databases struct {
	mu        sync.Mutex
	instances []DBInstance
	clusters  []DBCluster
}

// AddDBInstance adds an instance, or replaces the one with the same identifier.
func (s *Server) AddDBInstance(i DBInstance) {
	if i.ARN == "" {
		i.ARN = s.rdsARN("db", i.Identifier)
	}
	d := s.databases
	d.mu.Lock()
	defer d.mu.Unlock()
	d.instances = slices.DeleteFunc(d.instances, func(old DBInstance) bool { return strings.EqualFold(old.Identifier, i.Identifier) })
	d.instances = append(d.instances, i)
}

// AddDBCluster adds a cluster, or replaces the one with the same identifier.
func (s *Server) AddDBCluster(c DBCluster) {
	if c.ARN == "" {
		c.ARN = s.rdsARN("cluster", c.Identifier)
	}
	d := s.databases
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clusters = slices.DeleteFunc(d.clusters, func(old DBCluster) bool { return strings.EqualFold(old.Identifier, c.Identifier) })
	d.clusters = append(d.clusters, c)
}

func (s *Server) rdsARN(kind, identifier string) string {
	return "arn:aws:rds:" + s.region + ":" + AccountID + ":" + kind + ":" + identifier
}

func rdsOperations() map[string]operation {
	op := func(run func(*Server, *exchange) (any, error)) operation {
		return operation{service: rds, protocol: queryProtocol{rdsNamespace}, run: func(s *Server, x *exchange) (any, error) {
			if err := x.caller.allowed(rds+":"+x.call.Operation, s.resource(x)); err != nil {
				return nil, err
			}
			return run(s, x)
		}}
	}
	return map[string]operation{
		"DescribeDBInstances": op((*Server).describeDBInstances),
		"DescribeDBClusters":  op((*Server).describeDBClusters),
	}
}

// resource is what policies name: the database asked for, or all of the kind.
func (d *databases) resource(s *Server, x *exchange) string {
	kind, name := "db", x.form.Get("DBInstanceIdentifier")
	if x.call.Operation == "DescribeDBClusters" {
		kind, name = "cluster", x.form.Get("DBClusterIdentifier")
	}
	switch {
	case name == "":
		name = "*"
	case strings.HasPrefix(name, "arn:"):
		return name
	}
	return s.rdsARN(kind, name)
}

type dbEndpoint struct {
	Address string
	Port    string
}

type dbInstanceAnswer struct {
	Identifier    string      `xml:"DBInstanceIdentifier"`
	ARN           string      `xml:"DBInstanceArn"`
	Status        string      `xml:"DBInstanceStatus"`
	Engine        string      `xml:"Engine"`
	Endpoint      *dbEndpoint `xml:"Endpoint"` // none while it is created
	ReplicaSource string      `xml:"ReadReplicaSourceDBInstanceIdentifier,omitempty"`
	Replicas      []string    `xml:"ReadReplicaDBInstanceIdentifiers>ReadReplicaDBInstanceIdentifier"`
	Cluster       string      `xml:"DBClusterIdentifier,omitempty"`
}

type dbInstancesResponse struct {
	XMLName   xml.Name           `xml:"http://rds.amazonaws.com/doc/2014-10-31/ DescribeDBInstancesResponse"`
	Instances []dbInstanceAnswer `xml:"DescribeDBInstancesResult>DBInstances>DBInstance"`
	RequestID string             `xml:"ResponseMetadata>RequestId"`
}

func (s *Server) describeDBInstances(x *exchange) (any, error) {
	wanted, err := wantedDatabases(x.form, "DBInstanceIdentifier", "db-instance-id")
	if err != nil {
		return nil, err
	}
	s.databases.mu.Lock()
	defer s.databases.mu.Unlock()
	answer := dbInstancesResponse{RequestID: newRequestID()}
	for _, i := range s.databases.instances {
		if !wanted.has(i.Identifier, i.ARN) {
			continue
		}
		a := dbInstanceAnswer{Identifier: i.Identifier, ARN: i.ARN, Status: "available", Engine: i.Engine, ReplicaSource: i.ReplicaSource, Cluster: i.Cluster}
		if i.Host != "" {
			a.Endpoint = &dbEndpoint{i.Host, strconv.Itoa(i.Port)}
		}
		for _, other := range s.databases.instances {
			if other.ReplicaSource == i.Identifier {
				a.Replicas = append(a.Replicas, other.Identifier)
			}
		}
		answer.Instances = append(answer.Instances, a)
	}
	if wanted.one != "" && len(answer.Instances) == 0 {
		return nil, &apiError{http.StatusNotFound, "DBInstanceNotFound", "DBInstance " + wanted.one + " not found."}
	}
	return answer, nil
}

type dbMember struct {
	Instance string `xml:"DBInstanceIdentifier"`
	Writer   bool   `xml:"IsClusterWriter"`
}

type dbClusterAnswer struct {
	Identifier     string     `xml:"DBClusterIdentifier"`
	ARN            string     `xml:"DBClusterArn"`
	Status         string     `xml:"Status"`
	Engine         string     `xml:"Engine"`
	Endpoint       string     `xml:"Endpoint,omitempty"`
	ReaderEndpoint string     `xml:"ReaderEndpoint,omitempty"`
	Port           int        `xml:"Port"`
	Members        []dbMember `xml:"DBClusterMembers>DBClusterMember"` // the first is the writer
}

type dbClustersResponse struct {
	XMLName   xml.Name          `xml:"http://rds.amazonaws.com/doc/2014-10-31/ DescribeDBClustersResponse"`
	Clusters  []dbClusterAnswer `xml:"DescribeDBClustersResult>DBClusters>DBCluster"`
	RequestID string            `xml:"ResponseMetadata>RequestId"`
}

func (s *Server) describeDBClusters(x *exchange) (any, error) {
	wanted, err := wantedDatabases(x.form, "DBClusterIdentifier", "db-cluster-id")
	if err != nil {
		return nil, err
	}
	s.databases.mu.Lock()
	defer s.databases.mu.Unlock()
	answer := dbClustersResponse{RequestID: newRequestID()}
	for _, c := range s.databases.clusters {
		if !wanted.has(c.Identifier, c.ARN) {
			continue
		}
		a := dbClusterAnswer{Identifier: c.Identifier, ARN: c.ARN, Status: "available", Engine: c.Engine, Endpoint: c.Endpoint,
			ReaderEndpoint: c.ReaderEndpoint, Port: c.Port}
		for _, i := range s.databases.instances {
			if i.Cluster == c.Identifier {
				a.Members = append(a.Members, dbMember{i.Identifier, len(a.Members) == 0})
			}
		}
		answer.Clusters = append(answer.Clusters, a)
	}
	if wanted.one != "" && len(answer.Clusters) == 0 {
		return nil, &apiError{http.StatusNotFound, "DBClusterNotFoundFault", "DBCluster " + wanted.one + " not found."}
	}
	return answer, nil
}

// wanted is which databases a request asks for: one by name or ARN, those of a filter, or all.
type wanted struct {
	one string
	any []string
}

func wantedDatabases(form url.Values, parameter, filter string) (wanted, error) {
	w := wanted{one: form.Get(parameter)}
	for key, values := range form {
		if !strings.HasPrefix(key, "Filters.") {
			continue
		}
		switch {
		case strings.HasSuffix(key, ".Name") && values[0] != filter:
			return w, refuse("InvalidParameterValue", "Unrecognized filter name: %s", values[0])
		case strings.Contains(key, ".Values."):
			w.any = append(w.any, values...)
		}
	}
	return w, nil
}

func (w wanted) has(identifier, arn string) bool {
	is := func(name string) bool { return strings.EqualFold(name, identifier) || name == arn }
	return (w.one == "" || is(w.one)) && (w.any == nil || slices.ContainsFunc(w.any, is))
}
