package inventory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	rdsARN    = "arn:aws:rds:eu-west-1:123456789012:"
	secretARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:"
)

// instance is one with IAM authentication, at NAME.example.
func instance(name string) rdstypes.DBInstance {
	return rdstypes.DBInstance{
		DBInstanceIdentifier: &name, DBInstanceArn: aws.String(rdsARN + "db:" + name), Engine: aws.String("postgres"), DBInstanceStatus: aws.String("available"),
		Endpoint: &rdstypes.Endpoint{Address: aws.String(name + ".example"), Port: aws.Int32(5432)}, IAMDatabaseAuthenticationEnabled: aws.Bool(true),
	}
}

func secretOf(name, database string) smtypes.SecretListEntry {
	return smtypes.SecretListEntry{ARN: aws.String(secretARN + name), Name: &name, Tags: []smtypes.Tag{{Key: aws.String("aws:rds:primaryDBInstanceArn"), Value: aws.String(rdsARN + "db:" + database)}}}
}

func planOf(a *Account) *Plan { return a.Plan(Choice{IAMUser: "app"}) }

// secretID is the secret that a database's logins come from, "" for IAM.
func secretID(s Served) string {
	if c := s.Credentials.SecretsManager; c != nil {
		return c.SecretID
	}
	return ""
}

func names(p *Plan) (all []string) {
	for _, s := range p.Served {
		all = append(all, s.Name)
	}
	return all
}

// TestNames: two databases never share a name or a port, and no name is too long.
func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	a := &Account{Region: "eu-west-1", Instances: []rdstypes.DBInstance{instance("shop"), instance("shop-reader"), instance(long)}}
	for _, name := range []string{"shop", long} {
		a.Clusters = append(a.Clusters, rdstypes.DBCluster{
			DBClusterIdentifier: &name, DBClusterArn: aws.String(rdsARN + "cluster:" + name), Engine: aws.String("aurora-postgresql"), Status: aws.String("available"),
			Endpoint: aws.String(name[:4] + ".writer.example"), ReaderEndpoint: aws.String(name[:4] + ".reader.example"), Port: aws.Int32(5432),
			IAMDatabaseAuthenticationEnabled: aws.Bool(true), DBClusterMembers: []rdstypes.DBClusterMember{{IsClusterWriter: aws.Bool(true)}, {}},
		})
	}
	p := planOf(a)
	want := []string{long, long[:62] + "-2", long[:57] + "-reader", "shop", "shop-2", "shop-reader", "shop-reader-2"}
	if got := names(p); !slices.Equal(got, want) {
		t.Errorf("names\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i, s := range p.Served {
		if s.Listen[0] != fmt.Sprintf("localhost:%d", 5432+i) {
			t.Errorf("%s listens at %s", s.Name, s.Listen)
		}
	}
	if _, err := p.Text(); err != nil {
		t.Error(err)
	}
}

// TestSecretOfReplica: a replica of a replica has the users of the first of them.
func TestSecretOfReplica(t *testing.T) {
	first, second, third, lost := instance("first"), instance("second"), instance("third"), instance("lost")
	first.MasterUserSecret = &rdstypes.MasterUserSecret{SecretArn: aws.String(secretARN + "rds!db-first")}
	second.ReadReplicaSourceDBInstanceIdentifier, third.ReadReplicaSourceDBInstanceIdentifier = aws.String("first"), aws.String("second")
	lost.ReadReplicaSourceDBInstanceIdentifier = aws.String("arn:aws:rds:us-east-1:123456789012:db:first") // in another region
	for _, s := range planOf(&Account{Instances: []rdstypes.DBInstance{first, second, third, lost}}).Served {
		wantSecret, wantRole := secretARN+"rds!db-first", config.Reader
		if s.Name == "lost" {
			wantSecret = ""
		}
		if s.Name == "first" {
			wantRole = config.AnyRole
		}
		if secretID(s) != wantSecret || s.Role != wantRole {
			t.Errorf("%s: role %s, secret %q", s.Name, s.Role, secretID(s))
		}
	}
}

// TestWhichSecret: an application's own comes before the master's, and one that is to be
// deleted does not count.
func TestWhichSecret(t *testing.T) {
	master, old := secretOf("a-master", "shop"), secretOf("a-deleted", "shop")
	master.OwningService, old.DeletedDate = aws.String("rds"), aws.Time(time.Now())
	byHost := smtypes.SecretListEntry{ARN: aws.String(secretARN + "c-host"), Name: aws.String("c-host")}
	a := &Account{Instances: []rdstypes.DBInstance{instance("shop")}, Secrets: []smtypes.SecretListEntry{old, master, byHost, secretOf("b-app", "shop"), secretOf("b-app", "another")},
		Hosts: map[string]string{secretARN + "c-host": "shop.example"}}
	s := planOf(a).Served[0]
	if secretID(s) != secretARN+"b-app" || !slices.Equal(s.Notes, []string{"Another secret of it: " + secretARN + "c-host", "Another secret of it: " + secretARN + "a-master"}) {
		t.Errorf("%q, %q", secretID(s), s.Notes)
	}
	a.Secrets = []smtypes.SecretListEntry{master}
	if s := planOf(a).Served[0]; secretID(s) != secretARN+"a-master" || len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "master user's") {
		t.Errorf("%q, %q", secretID(s), s.Notes)
	}
}

// TestTooMany: what a configuration does not hold is named all the same.
func TestTooMany(t *testing.T) {
	a := &Account{Region: "eu-west-1"}
	for i := range config.MaxDatabases + 2 {
		a.Instances = append(a.Instances, instance(fmt.Sprintf("db-%04d", i)))
	}
	p := planOf(a)
	if len(p.Served) != config.MaxDatabases || len(p.Left) != 2 || p.Left[1].Name != "db-1001" || !strings.Contains(p.Left[0].Reason, "holds 1000 databases") {
		t.Errorf("%d served, left %v", len(p.Served), p.Left)
	}
	if _, err := p.Text(); err != nil {
		t.Error(err)
	}
}

// TestStrangeAnswers: nothing that stands in an answer of AWS becomes more than a comment or a
// string of the configuration.
func TestStrangeAnswers(t *testing.T) {
	const evil = "x\n  - name: evil\n    host: evil.example"
	named, engine, host, database := instance(evil), instance("engine"), instance("host"), instance("database")
	engine.Engine, host.Endpoint.Address, database.DBName = aws.String(evil), aws.String(evil), aws.String("a: [b # {c")
	a := &Account{Region: "eu-west-1", Instances: []rdstypes.DBInstance{named, engine, instance("good"), instance("on"), host, database}, Failures: []Failure{{Call: "rds:X", Err: errors.New(evil)}}}
	text, err := planOf(a).Text()
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("x", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range c.Databases {
		got = append(got, d.Name)
	}
	if !slices.Equal(got, []string{"database", "good", "on"}) || c.Databases[0].Database != "a: [b # {c" {
		t.Errorf("%q:\n%s", got, text)
	}
	a.Instances[5].DBName = aws.String(evil)
	if text, err := planOf(a).Text(); err == nil || !strings.Contains(err.Error(), "does not load") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestNothing(t *testing.T) {
	none := instance("none")
	none.IAMDatabaseAuthenticationEnabled = nil
	p := planOf(&Account{Instances: []rdstypes.DBInstance{none}})
	if _, err := p.Text(); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
	want := []string{"none (postgres instance): no secret is attached to it, and IAM database authentication is off; --read-secrets finds those that name its host", "0 databases served, 1 not"}
	if got := p.Remarks(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestPages: what the pages before an error held stays, and no list is without an end.
func TestPages(t *testing.T) {
	calls := 0
	err := pages(func(marker *string) (*string, error) { calls++; return aws.String("again"), nil })
	if err == nil || calls != maxPages {
		t.Errorf("%d calls, %v", calls, err)
	}
}
