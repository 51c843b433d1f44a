package awsstub

import (
	"cmp"
	"encoding/xml"
	"maps"
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
	Database        string // DBName
	Status          string // default: available
	IAM             bool   // IAM database authentication is on
	MasterSecret    string // ARN of the master user's secret, if RDS manages it
	Tags            map[string]string
}

// DBCluster is a cluster as RDS describes it.
type DBCluster struct {
	Identifier, ARN          string // default of ARN: one made of the identifier
	Endpoint, ReaderEndpoint string // hosts
	Port                     int
	Engine                   string // such as aurora-postgresql
	CustomEndpoints          []string
	Database                 string // DatabaseName
	Status                   string // default: available
	IAM                      bool   // IAM database authentication is on
	MasterSecret             string // ARN of the master user's secret, if RDS manages it
	Tags                     map[string]string
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

// RemoveDBInstance removes the instance with this identifier, if there is one.
func (s *Server) RemoveDBInstance(identifier string) {
	d := s.databases
	d.mu.Lock()
	defer d.mu.Unlock()
	d.instances = slices.DeleteFunc(d.instances, func(i DBInstance) bool { return strings.EqualFold(i.Identifier, identifier) })
}

// RemoveDBCluster removes the cluster with this identifier, if there is one, and its members.
func (s *Server) RemoveDBCluster(identifier string) {
	d := s.databases
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clusters = slices.DeleteFunc(d.clusters, func(c DBCluster) bool { return strings.EqualFold(c.Identifier, identifier) })
	d.instances = slices.DeleteFunc(d.instances, func(i DBInstance) bool { return strings.EqualFold(i.Cluster, identifier) })
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

// described is what an instance and a cluster have in common.
type described struct {
	IAM    bool      `xml:"IAMDatabaseAuthenticationEnabled"`
	Master *dbMaster `xml:"MasterUserSecret"`
	Tags   []dbTag   `xml:"TagList>Tag"`
}

type dbMaster struct {
	ARN    string `xml:"SecretArn"`
	Status string `xml:"SecretStatus"`
}

type dbTag struct{ Key, Value string }

func describe(iam bool, master string, tags map[string]string) described {
	d := described{IAM: iam}
	if master != "" {
		d.Master = &dbMaster{master, "active"}
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		d.Tags = append(d.Tags, dbTag{key, tags[key]})
	}
	return d
}

// page cuts an answer to the page that the request asks for, of 20 to 100 entries, and
// returns the marker of the next one ("DescribeDBInstances" in the API reference of RDS).
func page[Entry any](form url.Values, all []Entry) (entries []Entry, marker string, err error) {
	first, size := 0, maxRecords
	if s := form.Get("MaxRecords"); s != "" {
		if size, err = strconv.Atoi(s); err != nil || size < minRecords || size > maxRecords {
			return nil, "", refuse("InvalidParameterValue", "Invalid value %s for MaxRecords. Must be between %d and %d", s, minRecords, maxRecords)
		}
	}
	if s := form.Get("Marker"); s != "" {
		if first, err = strconv.Atoi(strings.TrimPrefix(s, markerPrefix)); err != nil || !strings.HasPrefix(s, markerPrefix) || first < 0 || first > len(all) {
			return nil, "", refuse("InvalidParameterValue", "Could not parse the marker.")
		}
	}
	if last := first + size; last < len(all) {
		return all[first:last], markerPrefix + strconv.Itoa(last), nil
	}
	return all[first:], "", nil
}

const (
	minRecords, maxRecords = 20, 100
	markerPrefix           = "marker-"
)

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
	Database      string      `xml:"DBName,omitempty"`
	described
}

type dbInstancesResponse struct {
	XMLName   xml.Name           `xml:"http://rds.amazonaws.com/doc/2014-10-31/ DescribeDBInstancesResponse"`
	Instances []dbInstanceAnswer `xml:"DescribeDBInstancesResult>DBInstances>DBInstance"`
	Marker    string             `xml:"DescribeDBInstancesResult>Marker,omitempty"`
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
		a := dbInstanceAnswer{Identifier: i.Identifier, ARN: i.ARN, Status: cmp.Or(i.Status, "available"), Engine: i.Engine, ReplicaSource: i.ReplicaSource, Cluster: i.Cluster,
			Database: i.Database, described: describe(i.IAM, i.MasterSecret, i.Tags)}
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
	answer.Instances, answer.Marker, err = page(x.form, answer.Instances)
	return answer, err
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
	Custom         []string   `xml:"CustomEndpoints>member"`
	Database       string     `xml:"DatabaseName,omitempty"`
	described
}

type dbClustersResponse struct {
	XMLName   xml.Name          `xml:"http://rds.amazonaws.com/doc/2014-10-31/ DescribeDBClustersResponse"`
	Clusters  []dbClusterAnswer `xml:"DescribeDBClustersResult>DBClusters>DBCluster"`
	Marker    string            `xml:"DescribeDBClustersResult>Marker,omitempty"`
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
		a := dbClusterAnswer{Identifier: c.Identifier, ARN: c.ARN, Status: cmp.Or(c.Status, "available"), Engine: c.Engine, Endpoint: c.Endpoint,
			ReaderEndpoint: c.ReaderEndpoint, Port: c.Port, Custom: c.CustomEndpoints, Database: c.Database, described: describe(c.IAM, c.MasterSecret, c.Tags)}
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
	answer.Clusters, answer.Marker, err = page(x.form, answer.Clusters)
	return answer, err
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
