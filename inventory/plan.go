package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/credproxy/credproxy/config"
)

// Choice narrows what is served, and says what AWS cannot know.
type Choice struct {
	Tags       map[string]string // a database must have each; "": any value
	IAMUser    string            // the user of databases with IAM authentication and no secret
	CAFile     string            // tls.ca_file of each database
	AssumeRole config.AssumeRole // of each credential
	Most       int               // databases that are served; default: what a configuration holds
	Live       *Live             // nil: the plan is for a file that a person reads
}

// Live is for a plan that is put to work unread, again and again. What it says of a database then
// depends on that database as far as it can: names are not made unique, see [Claim], and of
// several secrets none is guessed.
type Live struct {
	// Secrets are in use, by the ID of the database; "": IAM is. One stays in use while it is
	// attached, and IAM while it is on and no single secret takes its place.
	Secrets map[string]string
}

// Plan is which databases are served and how.
type Plan struct {
	Region string
	Choice Choice
	Served []Served  // by name
	Left   []LeftOut // by name
	Claims []Claim   // on names
	Hidden []Failure // calls that failed, so that something may be missing
	Other  int       // databases without the tags
}

// Served is one database of the configuration. Of that, what no default says is set.
type Served struct {
	config.Database
	ID    string // what it is in AWS, which another of the same name is not: an ARN and an end of it
	About string // what it is, in words
	Notes []string

	Secrets []string // the ARNs of all that are attached to it
}

// Claim is a database's on a name: that of each with the tags whose protocol credproxy speaks,
// whether it can be served just now or not, and of the readers of each cluster, whether it has
// some just now or not. So what has a name does not depend on what the others are up to.
type Claim struct {
	Name, ID string
	Created  time.Time
}

// unborn is when what AWS tells no time of was created: after all else.
var unborn = time.Unix(1<<40, 0)

// Before orders claims: by age, so that nothing that comes changes what was there before.
func (c Claim) Before(other Claim) int {
	return cmp.Or(c.Created.Compare(other.Created), cmp.Compare(c.ID, other.ID))
}

func (p *planner) claim(name, id string, created *time.Time) {
	c := Claim{fit(name), id, unborn}
	if created != nil {
		c.Created = *created
	}
	p.Claims = append(p.Claims, c)
}

// LeftOut is a database that is not served.
type LeftOut struct{ ID, Name, About, Reason string }

// Plan decides about each database.
func (a *Account) Plan(c Choice) *Plan {
	p := &planner{Plan: &Plan{Region: a.Region, Choice: c, Hidden: a.Failures}, account: a, secrets: a.attached(), instances: map[string]*rdstypes.DBInstance{}, clusters: map[string]bool{}}
	for i := range a.Instances {
		p.instances[aws.ToString(a.Instances[i].DBInstanceIdentifier)] = &a.Instances[i]
	}
	for i := range a.Clusters {
		p.clusters[aws.ToString(a.Clusters[i].DBClusterIdentifier)] = true
		p.cluster(&a.Clusters[i])
	}
	for _, name := range slices.Sorted(maps.Keys(p.instances)) {
		p.instance(p.instances[name])
	}
	p.finish()
	return p.Plan
}

type planner struct {
	*Plan
	account   *Account
	secrets   map[string][]secret             // by the ARN of the database
	instances map[string]*rdstypes.DBInstance // by identifier
	clusters  map[string]bool                 // likewise
}

// engines are those that RDS offers and credproxy speaks with
// ("CreateDBInstance", "CreateDBCluster" in the API reference of RDS).
var engines = map[string]config.Engine{
	"postgres": config.Postgres, "aurora-postgresql": config.Postgres,
	"mysql": config.MySQL, "aurora-mysql": config.MySQL, "aurora": config.MySQL,
	"mariadb": config.MariaDB,
}

// maxChain caps replicas of replicas; RDS has at most three behind one another.
const maxChain = 8

// What RDS takes as names of databases ("Naming constraints in Amazon RDS"), and gives as
// endpoints. As a count in the pattern a cap would be compiled as many times at each start.
const maxIdentifier, maxHostName = 63, 253

var (
	identifier = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)
	hostName   = regexp.MustCompile(`^[A-Za-z0-9.:-]+$`)
)

func (p *planner) cluster(c *rdstypes.DBCluster) {
	name, engine := aws.ToString(c.DBClusterIdentifier), aws.ToString(c.Engine)
	about := engine + " cluster"
	endpoint := aws.ToString(c.Endpoint)
	found, reason := p.usable(name, engine, aws.ToString(c.Status), endpoint, c.TagList)
	if !found {
		return
	}
	arn, iam := aws.ToString(c.DBClusterArn), aws.ToBool(c.IAMDatabaseAuthenticationEnabled)
	if engines[engine] != "" {
		p.claim(name, arn, c.ClusterCreateTime)
		p.claim(name+"-reader", arn+"#reader", c.ClusterCreateTime)
	}
	credential, attached, notes, without := p.credential(iam, c.MasterUserSecret, arn)
	if reason = cmp.Or(reason, without); reason != "" {
		p.Left = append(p.Left, LeftOut{arn, name, about, reason})
		return
	}
	readers := 0
	for _, m := range c.DBClusterMembers {
		if !aws.ToBool(m.IsClusterWriter) {
			readers++
		}
	}
	notes = append(notes, statusNote(aws.ToString(c.Status))...)
	for _, custom := range c.CustomEndpoints {
		notes = append(notes, "Custom endpoint, not served: "+custom)
	}
	s := Served{ID: arn, About: about + ", writer", Notes: notes, Secrets: attached, Database: config.Database{Name: name, Engine: engines[engine], Role: config.Writer,
		Host: endpoint, Port: int(aws.ToInt32(c.Port)), Database: aws.ToString(c.DatabaseName), Credentials: credential}}
	p.Served = append(p.Served, s)
	if reader := aws.ToString(c.ReaderEndpoint); reader != "" && readers > 0 {
		s.Name, s.ID, s.About, s.Notes, s.Role, s.Host = name+"-reader", arn+"#reader", fmt.Sprintf("%s, %s", about, plural(readers, "reader")), nil, config.Reader, reader
		p.Served = append(p.Served, s)
	}
}

func (p *planner) instance(i *rdstypes.DBInstance) {
	name, engine := aws.ToString(i.DBInstanceIdentifier), aws.ToString(i.Engine)
	about, cluster := engine+" instance", aws.ToString(i.DBClusterIdentifier)
	host, port := "", 0
	if i.Endpoint != nil {
		host, port = aws.ToString(i.Endpoint.Address), int(aws.ToInt32(i.Endpoint.Port))
	}
	found, reason := p.usable(name, engine, aws.ToString(i.DBInstanceStatus), host, i.TagList)
	if !found {
		return
	}
	if cluster != "" {
		if !p.clusters[cluster] {
			p.Left = append(p.Left, LeftOut{aws.ToString(i.DBInstanceArn), name, about, "it belongs to the cluster " + cluster + ", of which AWS did not tell"})
		}
		return // its cluster's endpoints lead to it
	}
	if engines[engine] != "" {
		p.claim(name, aws.ToString(i.DBInstanceArn), i.InstanceCreateTime)
	}
	role, owners, master := config.AnyRole, []string{aws.ToString(i.DBInstanceArn)}, i.MasterUserSecret
	if source := aws.ToString(i.ReadReplicaSourceDBInstanceIdentifier); source != "" {
		about, role = about+", replica of "+source, config.Reader
		// It has the users of its source, which may be a replica, too.
		for of := p.instances[source]; of != nil && len(owners) < maxChain; of = p.instances[aws.ToString(of.ReadReplicaSourceDBInstanceIdentifier)] {
			owners, master = append(owners, aws.ToString(of.DBInstanceArn)), cmp.Or(master, of.MasterUserSecret)
		}
	}
	credential, attached, notes, without := p.credential(aws.ToBool(i.IAMDatabaseAuthenticationEnabled), master, owners...)
	if reason = cmp.Or(reason, without); reason != "" {
		p.Left = append(p.Left, LeftOut{aws.ToString(i.DBInstanceArn), name, about, reason})
		return
	}
	notes = append(notes, statusNote(aws.ToString(i.DBInstanceStatus))...)
	p.Served = append(p.Served, Served{ID: aws.ToString(i.DBInstanceArn), About: about, Notes: notes, Secrets: attached, Database: config.Database{Name: name, Engine: engines[engine],
		Role: role, Host: host, Port: port, Database: aws.ToString(i.DBName), Credentials: credential}})
}

// usable reports whether a database has the tags, and if so what keeps it from being served.
func (p *planner) usable(name, engine, status, host string, tags []rdstypes.Tag) (wanted bool, reason string) {
	for key, value := range p.Choice.Tags {
		if !slices.ContainsFunc(tags, func(t rdstypes.Tag) bool {
			return aws.ToString(t.Key) == key && (value == "" || aws.ToString(t.Value) == value)
		}) {
			p.Other++
			return false, ""
		}
	}
	switch {
	case len(name) > maxIdentifier || !identifier.MatchString(name):
		return true, "its name is none that RDS gives"
	case engines[engine] == "":
		return true, "credproxy does not speak the protocol of " + engine
	case host != "" && (len(host) > maxHostName || !hostName.MatchString(host)):
		return true, "its endpoint is none that RDS gives"
	case host == "":
		return true, "it has no endpoint; its status is " + status
	}
	return true, ""
}

func statusNote(status string) []string {
	if status == "available" {
		return nil
	}
	return []string{"Its status was " + status + "."}
}

// finish puts all in order, and gives names and ports.
func (p *planner) finish() {
	byName := func(a, b Served) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortStableFunc(p.Served, byName)
	slices.SortStableFunc(p.Left, func(a, b LeftOut) int { return cmp.Compare(a.Name, b.Name) })
	if most := cmp.Or(p.Choice.Most, config.MaxDatabases); len(p.Served) > most {
		for _, s := range p.Served[most:] {
			p.Left = append(p.Left, LeftOut{s.ID, s.Name, s.About, fmt.Sprintf("a configuration holds %d databases; narrow them by tags", most)})
		}
		p.Served = p.Served[:most]
	}
	taken, next := map[string]bool{}, map[int]int{}
	for i := range p.Served {
		s := &p.Served[i]
		s.Name = fit(s.Name)
		if p.Choice.Live == nil {
			s.Name = free(s.Name, taken)
		}
		taken[s.Name] = true
		first := s.Engine.Port()
		s.Listen = []string{fmt.Sprintf("localhost:%d", first+next[first])}
		s.TLS.CAFile = p.Choice.CAFile
		next[first]++
	}
}

// longest is how long the name of a database is in a configuration.
const longest = 64

// fit returns the name of a database, or a shorter one that ends like it.
func fit(name string) string {
	if len(name) <= longest {
		return name
	}
	name, suffix := strings.TrimSuffix(name, "-reader"), "-reader"
	return name[:longest-len(suffix)] + suffix
}

// free returns name, or one like it that is not taken.
func free(name string, taken map[string]bool) string {
	candidate := name
	for i := 2; taken[candidate]; i++ {
		number := fmt.Sprintf("-%d", i)
		candidate = name[:min(len(name), longest-len(number))] + number
	}
	return candidate
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
