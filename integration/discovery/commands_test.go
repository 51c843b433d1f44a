package discovery_test

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// call calls credproxy with this configuration, and returns what it says.
func (s *stand) call(t *testing.T, args ...string) (status int, says string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = append(s.aws.Env(), "GORACE=atexit_sleep_ms=10")
	out, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	if strings.Contains(string(out), planted) || strings.Contains(string(out), "DATA RACE") {
		t.Errorf("shows a secret, or has a data race:\n%s", out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// TestCheckAndPolicy: check walks to what discovery finds, policy prints what that needs, and
// status says it.
func TestCheckAndPolicy(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	s.add("orders", 0, true)
	s.add("stock", 0, false)
	s.aws.AddDBInstance(awsstub.DBInstance{Identifier: "legacy", Engine: "oracle-ee", Host: "legacy.example", Port: 1521, Tags: map[string]string{"proxied": ""}})
	s.write(t, "  read_secrets: true\n")
	status, says := s.call(t, "check", "-c", s.file)
	if status != 0 {
		t.Errorf("status %d", status)
	}
	for _, part := range []string{
		"discover (the environment's region)\n", "  warning  discovery      2 served, 1 not: legacy: credproxy does not speak the protocol of oracle-ee\n", "\norders\n", "\nstock\n",
	} {
		if !strings.Contains(says, part) {
			t.Errorf("check does not say %q:\n%s", part, says)
		}
	}
	if n := strings.Count(says, "  ok       login "); n != 2 {
		t.Errorf("%d logins:\n%s", n, says)
	}
	status, says = s.call(t, "policy", "-c", s.file, "--lookup")
	if status != 0 {
		t.Errorf("status %d", status)
	}
	for _, part := range []string{
		`"rds:DescribeDBClusters"`, `"rds:DescribeDBInstances"`, `"secretsmanager:ListSecrets"`, `"secretsmanager:BatchGetSecretValue"`,
		":secret:orders/app-", ":secret:stock/app-", "databases that come later need a right",
	} {
		if !strings.Contains(says, part) {
			t.Errorf("policy does not say %q:\n%s", part, says)
		}
	}
	s.aws.Inject("DescribeDBClusters", awsstub.Fault{Kind: awsstub.AccessDenied})
	if status, says := s.call(t, "check", "-c", s.file); status != 1 || !strings.Contains(says, "rds:DescribeDBClusters") || !strings.Contains(says, "credproxy policy prints") {
		t.Errorf("status %d:\n%s", status, says)
	}
	if status, says := s.call(t, "policy", "-c", s.file, "--lookup"); status != 1 || !strings.Contains(says, "the databases of the environment's region are not known") {
		t.Errorf("status %d:\n%s", status, says)
	}
	s.aws.ClearFaults()

	s.start(t, "")
	s.serves(t, []string{"orders", "stock"})
	admin, err := s.Admin()
	must(t, err)
	const line = "discovery in the environment's region: 2 databases served, 1 not; AWS told all at "
	if status, says := s.call(t, "status", "--admin", admin); status != 0 || !strings.Contains(says, line) {
		t.Errorf("status %d:\n%s", status, says)
	}
	if _, page, err := s.Get("/"); err != nil || !strings.Contains(page, strings.ReplaceAll(line, "'", "&#39;")) {
		t.Errorf("%v: %s", err, page)
	}
}

// TestLeastPolicy: what policy prints is enough, and a database that comes later, whose secret
// it does not allow, is in trouble alone. A secret names its host only: its value is read
// when it is new or has changed, and one that cannot be read any more stays with its database.
func TestLeastPolicy(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	s.add("orders", 0, true)
	host := s.host()
	s.aws.AddDBInstance(awsstub.DBInstance{Identifier: "stock", Engine: "postgres", Host: host, Port: s.engines[0].port, Tags: map[string]string{"proxied": ""}})
	value := fmt.Sprintf(`{"username": "app", "password": %q, "host": %q}`, planted, strings.ToUpper(host))
	s.aws.CreateSecret("the-stock", value)
	s.write(t, "  read_secrets: true\n")
	cmd := exec.CommandContext(t.Context(), binary, "policy", "-c", s.file, "--lookup")
	cmd.Env = s.aws.Env()
	policy, err := cmd.Output()
	must(t, err)
	allowed, err := awsstub.AllowPolicy(policy)
	must(t, err)
	s.allow(allowed)
	s.aws.ResetCalls()
	s.start(t, "  read_secrets: true\n")
	s.serves(t, []string{"orders", "stock"})
	running := newClients(t)
	running.begin(t, s, "orders", "postgres")
	running.begin(t, s, "stock", "postgres")
	read := func(want int) {
		t.Helper()
		s.round(t)
		if n := s.aws.Calls("BatchGetSecretValue"); n != want {
			t.Errorf("%d calls for the values of secrets, want %d", n, want)
		}
	}
	read(1)
	s.aws.PutSecret("the-stock", value)
	read(2)
	s.allow(func(action, resource string) bool {
		return allowed(action, resource) && (action != "secretsmanager:GetSecretValue" || !strings.Contains(resource, "the-stock"))
	})
	s.aws.PutSecret("the-stock", value)
	read(3)
	read(4) // it may be allowed by now
	s.add("late", 0, false)
	read(5)
	sidecar.Await(t, "late in trouble", func() bool {
		f := s.status(t)
		i := slices.IndexFunc(f.Databases, func(db foundDatabase) bool { return db.Name == "late" })
		return len(f.Databases) == 3 && f.Discovery[0].Error == "" && i >= 0 && f.Databases[i].Reason == "no credential yet: access_denied"
	})
	running.whole(t, nil)
}
