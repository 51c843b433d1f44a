package inventory_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// TestInit has init ask an account of 300 clusters and instances of all engines, page by page
// and while AWS throttles, and holds what it writes to a file. The configuration loads.
func TestInit(t *testing.T) {
	s := startAWS(t, awsstub.Options{})
	fill(s)
	for _, op := range []string{"DescribeDBClusters", "DescribeDBInstances", "ListSecrets", "BatchGetSecretValue"} {
		s.Inject(op, awsstub.Fault{Kind: awsstub.Throttle, Times: 1})
	}
	file := filepath.Join(t.TempDir(), "credproxy.yaml")
	run(t, s.Env(), "init", "--read-secrets", "-o", file).mustSay(t, 0, "225 databases served, 125 not")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "account.yaml", string(text))
	for op, want := range map[string]int{"DescribeDBClusters": 1 + 2, "DescribeDBInstances": 1 + 5, "ListSecrets": 1 + 3} {
		if got := s.Calls(op); got != want {
			t.Errorf("%d calls of %s, want %d", got, op, want)
		}
	}
	loads(t, s, file)
}

// loads has policy read a configuration, which demands that it loads.
func loads(t *testing.T, s *awsstub.Server, file string) string {
	t.Helper()
	c := run(t, s.Env(), "policy", "-c", file, "--account", awsstub.AccountID, "--kms-key", "none", "--resource-id", "cluster-ABC")
	c.mustSay(t, 0)
	return c.stdout
}

// TestInitNarrowed: without the values of secrets, narrowed by tags, as another role, to
// standard output.
func TestInitNarrowed(t *testing.T) {
	const role = "arn:aws:iam::" + awsstub.AccountID + ":role/reader"
	s := startAWS(t, awsstub.Options{Roles: []awsstub.Role{{ARN: role, ExternalID: "x7"}}})
	fill(s)
	c := run(t, s.Env(), "init", "--tag", "team=bank,env", "--role", role, "--external-id", "x7", "--iam-user", "shop app", "--tls-ca-file", "../pki/pki.go")
	c.mustSay(t, 0, "databases without the tags")
	if strings.Contains(c.stdout, `"bank"`) || !strings.Contains(c.stdout, "with env, team=bank: ") ||
		!strings.Contains(c.stdout, "no secret is attached to it, and IAM database authentication is off; --read-secrets finds those that name its host") ||
		strings.Count(c.stdout, "\n      iam:\n        user: \"shop app\"\n        region: eu-west-1\n        assume_role:\n          role_arn: \""+role+"\"\n          external_id: \"x7\"\n") == 0 ||
		strings.Contains(c.stdout, "orders-000") || !strings.Contains(c.stdout, "- name: orders-012\n") {
		t.Errorf("%.3000s", c.stdout)
	}
	if n := s.Calls("GetSecretValue") + s.Calls("BatchGetSecretValue"); n != 0 {
		t.Errorf("%d calls for the values of secrets", n)
	}
	run(t, s.Env(), "init", "--tag", "team=none").mustSay(t, 1, " databases without the tags", "0 databases served", "no database can be served")
}

// TestInitDenied: what AWS does not tell is said, and the rest is written.
func TestInitDenied(t *testing.T) {
	var denied atomic.Value
	denied.Store("")
	s := startAWS(t, awsstub.Options{Identities: []awsstub.Identity{{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "k", Allow: func(action, resource string) bool {
		for what := range strings.FieldsSeq(denied.Load().(string)) {
			if strings.Contains(action+resource, what) {
				return false
			}
		}
		return true
	}}}})
	fill(s)
	for _, tt := range []struct {
		denied  string
		args    []string
		says    []string
		written []string
	}{
		{"ListSecrets", nil, []string{"something may be missing: secretsmanager:ListSecrets", "AccessDenied", "AWS did not tell all"}, []string{
			"# Something may be missing: secretsmanager:ListSecrets: ", "IAM database authentication is off, and of its secrets AWS did not tell",
			"secret:rds!cluster-orders-000-", // which the cluster names
		}},
		{"DescribeDBClusters", nil, []string{"something may be missing: rds:DescribeDBClusters"}, []string{
			"orders-000-1 (aurora-postgresql instance): it belongs to the cluster orders-000, of which AWS did not tell", "- name: ledger-005\n",
		}},
		{"DescribeDBInstances", nil, []string{"something may be missing: rds:DescribeDBInstances"}, []string{"- name: orders-000\n"}},
		{"GetSecretValue", []string{"--read-secrets"}, []string{"something may be missing: secretsmanager:BatchGetSecretValue"}, []string{"- name: orders-000\n"}},
		{"secret:orders-006/app", []string{"--read-secrets"}, []string{"1 of 125 secrets cannot be read, the first: AccessDeniedException"}, []string{"- name: orders-018\n"}},
	} {
		t.Run(tt.denied, func(t *testing.T) {
			denied.Store(tt.denied)
			file := filepath.Join(t.TempDir(), "credproxy.yaml")
			run(t, s.Env(), append([]string{"init", "-o", file}, tt.args...)...).mustSay(t, 1, tt.says...)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range tt.written {
				if !strings.Contains(string(text), part) {
					t.Errorf("does not write %q", part)
				}
			}
			denied.Store("")
			loads(t, s, file)
		})
	}
	denied.Store("Describe List")
	file := filepath.Join(t.TempDir(), "credproxy.yaml")
	run(t, s.Env(), "init", "-o", file).mustSay(t, 1, "AWS tells nothing of this account: rds:DescribeDBClusters: ", "AccessDenied")
	if _, err := os.Stat(file); err == nil {
		t.Error("a file is written all the same")
	}
}

// TestInitWritesOverNothing: a file that is there stays, unless --force is given.
func TestInitWritesOverNothing(t *testing.T) {
	s := startAWS(t, awsstub.Options{})
	s.AddDBInstance(awsstub.DBInstance{Identifier: "null", Engine: "mariadb", Host: "null." + zone, Port: 3306, IAM: true})
	file := filepath.Join(t.TempDir(), "credproxy.yaml")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, s.Env(), "init", "-o", file).mustSay(t, 2, file+" is there already; --force writes over it")
	if text, _ := os.ReadFile(file); string(text) != "mine" {
		t.Errorf("%s", text)
	}
	if n := s.Calls("DescribeDBInstances"); n != 0 {
		t.Errorf("asked %d times for nothing", n)
	}
	run(t, s.Env(), "init", "-o", file, "--force").mustSay(t, 0, "1 database served, 0 not")
	if policy := loads(t, s, file); !strings.Contains(policy, "dbuser:cluster-ABC/app") {
		t.Errorf("%s", policy)
	}
	run(t, s.Env(), "init", "--check").mustSay(t, 2, "add -o FILE")
	run(t, s.Env(), "init", "--external-id", "x").mustSay(t, 2, "--external-id does nothing without --role")
	run(t, []string{"AWS_REGION=eu-west-1", "AWS_EC2_METADATA_DISABLED=true"}, "init").mustSay(t, 1, "no AWS credentials found")
}

// TestInitProfile: a profile of the shared configuration goes before keys in the environment.
func TestInitProfile(t *testing.T) {
	s := startAWS(t, awsstub.Options{Identities: []awsstub.Identity{{AccessKeyID: "AKIAENVIRONMENT", SecretAccessKey: "k"}, {AccessKeyID: "AKIAPROFILE", SecretAccessKey: "k"}}})
	s.AddDBInstance(awsstub.DBInstance{Identifier: "shop", Engine: "mysql", Host: "shop." + zone, Port: 3306, IAM: true})
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[prod]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = k\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, append(s.Env(), "AWS_SHARED_CREDENTIALS_FILE="+file), "init", "--profile", "prod", "--region", "eu-west-1").mustSay(t, 0, "1 database served")
	for _, call := range s.Log() {
		if call.AccessKeyID != "AKIAPROFILE" {
			t.Errorf("%s by %s", call.Operation, call.AccessKeyID)
		}
	}
}
