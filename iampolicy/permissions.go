package iampolicy

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/wiring"
)

// What stands in a policy for a part that is not known.
const (
	unknownAccount  = "ACCOUNT_ID"
	unknownRegion   = "REGION"
	unknownResource = "RESOURCE_ID"
)

// OwnRole stands for the role that credproxy itself runs as, among those that it
// assumes.
const OwnRole = "self"

// noKey says that a secret is encrypted with the key that AWS manages, which
// needs no permission.
const noKey = "none"

// Facts are what a policy needs and a configuration leaves open. What is
// not known is "".
type Facts struct {
	Account, Region string // of credproxy itself
	Databases       map[string]DatabaseFacts
}

// DatabaseFacts are those of one database.
type DatabaseFacts struct {
	SecretARN        string // with its six random characters
	KMSKey           string // of the secret: key id, alias, the ARN of either, or noKey
	RotationFunction string // of the secret: its ARN
	ResourceID       string // of the database: db-..., cluster-... or prx-...
	Account          string // of the database
}

// needs collects what each role must be allowed.
type needs struct {
	facts      Facts
	roles      map[string]map[string]*Statement // by role, then Sid
	notes      []string                         // for the operator
	incomplete []string                         // placeholders in use
}

// Generate returns the least policy of each role that cfg needs, by the ARN of
// the role or OwnRole. A role that needs nothing is missing. Notes tell what the
// operator should know, incomplete which placeholders are in the documents.
func Generate(cfg *config.Config, facts Facts) (policies map[string]Document, notes, incomplete []string) {
	n := &needs{facts: facts, roles: map[string]map[string]*Statement{}}
	for _, d := range cfg.Discover {
		n.discover(d)
	}
	for i := range cfg.Databases {
		n.database(&cfg.Databases[i])
	}
	policies = map[string]Document{}
	for role, statements := range n.roles {
		policies[role] = newDocument(slices.Collect(maps.Values(statements))...)
	}
	return policies, n.notes, n.incomplete
}

func (n *needs) database(db *config.Database) {
	switch c := db.Credentials; {
	case c.SecretsManager != nil:
		n.secret(db, n.assume(c.SecretsManager.AssumeRole))
	case c.IAM != nil:
		n.connect(db, n.assume(c.IAM.AssumeRole))
	case c.DSQL != nil:
		n.connectDSQL(db, n.assume(c.DSQL.AssumeRole))
	}
	if queue := db.Rotation.Events.SQSQueueURL; queue != "" {
		n.allow(OwnRole, "ReceiveRotationEvents", n.queue(queue), nil, "sqs:DeleteMessage", "sqs:ReceiveMessage")
	}
}

// discover lets credproxy ask for the databases of an account. AWS knows no narrower
// resource for these calls ("Actions, resources, and condition keys" of RDS and of Secrets
// Manager).
func (n *needs) discover(d config.Discover) {
	role := n.assume(d.AssumeRole)
	n.allow(role, "DiscoverDatabases", "*", nil, "rds:DescribeDBClusters", "rds:DescribeDBInstances", "secretsmanager:ListSecrets")
	if d.ReadSecrets {
		n.allow(role, "ReadSecretsInBatches", "*", nil, "secretsmanager:BatchGetSecretValue")
	}
	const note = "discover: databases that come later need a right to their secrets, or to log in by IAM, which is not in here; docs/discovery.md says how to give it by tag"
	n.notes = insert(n.notes, note)
}

// assume lets credproxy take a role, if there is one, and returns who then asks. A session
// of EKS Pod Identity has transitive tags, and STS takes no role for it without TagSession
// ("Chaining roles with session tags", IAM user guide).
func (n *needs) assume(r config.AssumeRole) (role string) {
	if r.RoleARN == "" {
		return OwnRole
	}
	n.allow(OwnRole, "AssumeRoles", r.RoleARN, nil, "sts:AssumeRole", "sts:TagSession")
	return r.RoleARN
}

func (n *needs) allow(role, sid, resource string, condition Condition, actions ...string) {
	if n.roles[role] == nil {
		n.roles[role] = map[string]*Statement{}
	}
	s := n.roles[role][sid]
	if s == nil {
		s = &Statement{Sid: sid, Effect: "Allow", Action: actions}
		n.roles[role][sid] = s
	}
	s.allow(resource, condition)
}

// or returns the first of values that is known, else the placeholder.
func (n *needs) or(placeholder string, values ...string) string {
	value := cmp.Or(values...)
	if value == "" {
		n.incomplete = insert(n.incomplete, placeholder)
		return placeholder
	}
	return value
}

// wholeARN matches the end of an ARN with the six characters that Secrets Manager
// appends to a name.
var wholeARN = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

// secret lets role read a database's secret.
func (n *needs) secret(db *config.Database, role string) {
	n.use(db, role, "ReadSecrets", []string{"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"}, "DecryptSecrets", "kms:Decrypt")
}

// use lets role do actions with a database's secret, and keyActions with the secret's key.
func (n *needs) use(db *config.Database, role, sid string, actions []string, keySid string, keyActions ...string) {
	s, known := db.Credentials.SecretsManager, n.facts.Databases[db.Name]
	id := known.SecretARN
	switch {
	case id != "":
	case arn.IsARN(s.SecretID) && wholeARN.MatchString(s.SecretID):
		id = s.SecretID
	case arn.IsARN(s.SecretID):
		id = s.SecretID + "-??????" // as AWS advises: "*" would match other secrets as well
	default:
		region := n.or(unknownRegion, s.Region, n.facts.Region)
		id = n.arn("secretsmanager", region, n.or(unknownAccount, n.account(role)), "secret:"+s.SecretID+"-??????", role)
	}
	n.allow(role, sid, id, nil, actions...)
	if parsed, err := arn.Parse(id); err == nil {
		n.key(db.Name, role, known.KMSKey, parsed, keySid, keyActions)
		if role == OwnRole && n.facts.Account != "" && parsed.AccountID != n.facts.Account {
			n.notes = append(n.notes, fmt.Sprintf("database %s: its secret is in account %s, so the secret's own policy and its key's policy must allow this role as well", db.Name, parsed.AccountID))
		}
	}
}

// key lets role use the secret's key, if that is not AWS's own.
func (n *needs) key(database, role, key string, secret arn.ARN, sid string, actions []string) {
	switch key {
	case noKey:
		return
	case "":
		n.notes = append(n.notes, fmt.Sprintf("database %s: whether its secret is encrypted with a key of your own is not known, and nothing is allowed for one; --lookup asks AWS, --kms-key says it", database))
		return
	}
	via := Condition{}.with("StringEquals", "kms:ViaService", "secretsmanager."+secret.Region+".amazonaws.com")
	in := "In" + camel(secret.Region)
	resource := arn.ARN{Partition: secret.Partition, Service: "kms", Region: secret.Region, AccountID: secret.AccountID, Resource: key}
	if parsed, err := arn.Parse(key); err == nil {
		resource = parsed
	}
	switch alias, isAlias := strings.CutPrefix(resource.Resource, "alias/"); {
	case isAlias: // no resource of an action, but a condition
		via = via.with("ForAnyValue:StringEquals", "kms:ResourceAliases", "alias/"+alias)
		sid += "ByAlias"
		resource.Resource = "key/*"
	case !strings.HasPrefix(resource.Resource, "key/"):
		resource.Resource = "key/" + resource.Resource
	}
	n.allow(role, sid+in, resource.String(), via, actions...)
}

// connect lets role log in to a database as an IAM user.
func (n *needs) connect(db *config.Database, role string) {
	known := n.facts.Databases[db.Name]
	account := n.or(unknownAccount, known.Account, n.account(role))
	resource := "dbuser:" + n.or(unknownResource, known.ResourceID) + "/" + literal.Replace(db.Credentials.IAM.User)
	n.allow(role, "ConnectToDatabases", n.arn("rds-db", db.Credentials.IAM.Region, account, resource, role), nil, "rds-db:connect")
}

// connectDSQL lets role log in to a cluster of Aurora DSQL, whose id its endpoint begins
// with ("Connecting to your cluster using IAM" in its user guide).
func (n *needs) connectDSQL(db *config.Database, role string) {
	c := db.Credentials.DSQL
	sid, action := "ConnectToClusters", "dsql:DbConnect"
	if c.User == "admin" {
		sid, action = "ConnectToClustersAsAdmin", "dsql:DbConnectAdmin"
	} else {
		n.notes = append(n.notes, fmt.Sprintf("database %s: in the cluster, admin must also run AWS IAM GRANT %s TO the ARN of this role", db.Name, quoted(c.User)))
	}
	id, _, _ := strings.Cut(strings.ToLower(wiring.DSQLEndpoint(db)), ".")
	resource := n.arn("dsql", c.Region, n.or(unknownAccount, n.account(role)), "cluster/"+id, role)
	n.allow(role, sid, resource, nil, action)
}

// quoted writes a name as PostgreSQL takes it.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal writes what IAM would take for a wildcard or a variable.
var literal = strings.NewReplacer("*", "${*}", "?", "${?}", "$", "${$}")

// account is that of role, and so of what it asks for; "" if it is not known.
func (n *needs) account(role string) string {
	if parsed, err := arn.Parse(role); err == nil {
		return parsed.AccountID
	}
	return n.facts.Account
}

func (n *needs) arn(service, region, account, resource, role string) string {
	partition := partitionOf(region)
	if parsed, err := arn.Parse(role); err == nil && region == unknownRegion {
		partition = parsed.Partition
	}
	return arn.ARN{Partition: partition, Service: service, Region: region, AccountID: account, Resource: resource}.String()
}

const regionPattern = `[a-z]{2,}(?:-[a-z]+)+-[0-9]+`

var (
	wholeRegion  = regexp.MustCompile(`^` + regionPattern + `$`)
	regionInHost = regexp.MustCompile(regionPattern)
)

// IsRegion reports whether s has the form of a region's name.
func IsRegion(s string) bool { return wholeRegion.MatchString(s) }

// queue is the ARN of a queue: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME.
func (n *needs) queue(address string) string {
	account, name, region := "", "", ""
	if u, err := url.Parse(address); err == nil {
		account, name, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		region = regionInHost.FindString(u.Host)
	}
	return n.arn("sqs", n.or(unknownRegion, region, n.facts.Region), n.or(unknownAccount, account), name, OwnRole)
}

// partitionOf returns the partition of a region ("Partitions" in the reference of
// ARNs).
func partitionOf(region string) string {
	for _, p := range []struct{ prefix, partition string }{
		{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"eusc-", "aws-eusc"},
		{"us-iso-", "aws-iso"}, {"us-isob-", "aws-iso-b"}, {"eu-isoe-", "aws-iso-e"}, {"us-isof-", "aws-iso-f"},
	} {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition
		}
	}
	return "aws"
}

// camel writes eu-west-1 as EuWest1: a Sid has letters and digits only.
func camel(region string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(region, "-") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + strings.ToLower(part[1:]))
		}
	}
	return strings.ReplaceAll(b.String(), "_", "")
}
