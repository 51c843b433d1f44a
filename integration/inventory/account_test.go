package inventory_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

var update = flag.Bool("update", false, "write the files that tests compare with")

const (
	planted = "planted-7Hq2vLx9" // in each secret's value
	// clusters and instances of the large account, beside the members of the clusters.
	databases = 300
)

// initCall is one call of credproxy init.
type initCall struct {
	status         int
	stdout, stderr string
}

// run calls credproxy, whose environment is env and nothing else of AWS.
func run(t *testing.T, env []string, args ...string) initCall {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = append(env, "GORACE=atexit_sleep_ms=10")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	c := initCall{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	if strings.Contains(c.stdout+c.stderr, planted) || strings.Contains(c.stderr, "DATA RACE") {
		t.Errorf("shows a secret, or has a data race:\n%s%s", c.stdout, c.stderr)
	}
	return c
}

// mustSay checks the status and what is said on standard error.
func (c initCall) mustSay(t *testing.T, status int, parts ...string) {
	t.Helper()
	if c.status != status {
		t.Errorf("status %d, want %d:\n%s", c.status, status, c.stderr)
	}
	for _, part := range parts {
		if !strings.Contains(c.stderr, part) {
			t.Errorf("does not say %q:\n%s", part, c.stderr)
		}
	}
}

func startAWS(t *testing.T, o awsstub.Options) *awsstub.Server {
	t.Helper()
	s, err := awsstub.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// secret makes one with a user's login, for a host or for none, and with tags in pairs.
func secret(s *awsstub.Server, name, host string, tags ...string) (arn string) {
	value := fmt.Sprintf(`{"username": "app", "password": %q, "host": %q}`, planted, host)
	if host == "" {
		value = fmt.Sprintf(`{"username": "app", "password": %q}`, planted)
	}
	arn = s.CreateSecret(name, value)
	for i := 0; i < len(tags); i += 2 {
		s.SetTag(name, tags[i], tags[i+1])
	}
	return arn
}

// managed makes the secret of a master user, as RDS does.
func managed(s *awsstub.Server, name, tag, database string) (arn string) {
	arn = secret(s, name, "", tag, database)
	s.Edit(name, func(sec *awsstub.Secret) { sec.OwningService = "rds" })
	return arn
}

const (
	ofCluster  = "aws:rds:primaryDBClusterArn"
	ofInstance = "aws:rds:primaryDBInstanceArn"
	rdsARN     = "arn:aws:rds:eu-west-1:" + awsstub.AccountID + ":"
	zone       = "c9akciq32.eu-west-1.rds.amazonaws.com"
)

// fill gives the account 300 clusters and instances of all engines that RDS lists, with
// their members and their secrets, and 100 secrets that have nothing to do with databases.
func fill(s *awsstub.Server) {
	for i := range databases {
		name := fmt.Sprintf("%s-%03d", []string{"orders", "stock", "ledger"}[i%3], i)
		tags := map[string]string{"team": []string{"shop", "bank"}[i/12%2], "env": "prod"}
		cluster := awsstub.DBCluster{Identifier: name, Endpoint: name + ".cluster-" + zone, ReaderEndpoint: name + ".cluster-ro-" + zone, Port: 5432, Tags: tags}
		instance := awsstub.DBInstance{Identifier: name, Host: name + "." + zone, Port: 5432, Tags: tags}
		members := 0
		switch i % 12 {
		case 0:
			cluster.Engine, cluster.Database, members = "aurora-postgresql", "shop", 3
			cluster.MasterSecret = managed(s, "rds!cluster-"+name, ofCluster, rdsARN+"cluster:"+name)
			cluster.CustomEndpoints = []string{name + "-reports.cluster-custom-" + zone}
		case 1:
			cluster.Engine, cluster.Port, cluster.IAM, members = "aurora-mysql", 3306, true, 1
		case 2:
			cluster.Engine, cluster.IAM, members = "postgres", true, 3
			secret(s, name+"/app", "", ofCluster, rdsARN+"cluster:"+name)
		case 3:
			cluster.Engine, cluster.Port, members = "docdb", 27017, 2
		case 4:
			cluster.Engine, cluster.Port, members = "neptune", 8182, 1
		case 5:
			instance.Engine, instance.Database = "postgres", "on" // which is true in YAML 1.1
			instance.MasterSecret = managed(s, "rds!db-"+name, ofInstance, rdsARN+"db:"+name)
			secret(s, name+"/reports", "", ofInstance, rdsARN+"db:"+name)
			secret(s, name+"/app", "", ofInstance, rdsARN+"db:"+name)
		case 6:
			instance.Engine, instance.Port = "mysql", 3306
			secret(s, name+"/app", strings.ToUpper(instance.Host))
		case 7:
			instance.Engine, instance.Port, instance.IAM, instance.Status = "mariadb", 3307, true, "stopped"
		case 8:
			instance.Engine, instance.Port = "oracle-ee", 1521
		case 9:
			instance.Engine, instance.Port = "sqlserver-se", 1433
		case 10:
			instance.Engine, instance.ReplicaSource = "postgres", fmt.Sprintf("%s-%03d", []string{"orders", "stock", "ledger"}[(i-5)%3], i-5)
		case 11:
			instance.Engine = "postgres"
			if i%24 == 11 {
				instance.Host, instance.Status = "", "creating"
			}
		}
		if i%12 > 4 {
			s.AddDBInstance(instance)
			continue
		}
		s.AddDBCluster(cluster)
		for m := range members {
			member := fmt.Sprintf("%s-%d", name, m+1)
			s.AddDBInstance(awsstub.DBInstance{Identifier: member, Engine: cluster.Engine, Cluster: name, Host: member + "." + zone, Port: cluster.Port, Tags: tags})
		}
	}
	for i := range 100 {
		s.CreateSecret(fmt.Sprintf("keys/%03d", i), []string{`{"token": "` + planted + `"}`, planted, `["` + planted}[i%3])
	}
}

// golden compares a configuration with a file, but for the random ends of the secrets' ARNs.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = regexp.MustCompile(`(:secret:[^"\s]+-)[A-Za-z0-9]{6}\b`).ReplaceAllString(got, "${1}AbCdEf")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		file := filepath.Join(t.TempDir(), "now")
		_ = os.WriteFile(file, []byte(got), 0o600)
		diff, _ := exec.CommandContext(t.Context(), "diff", path, file).CombinedOutput()
		t.Errorf("differs from %s (go test ./inventory -update writes it):\n%.4000s", path, diff)
	}
}
