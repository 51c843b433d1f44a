package discovery_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/dnsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// The names of a cluster's writer and readers, and where its two servers are.
const (
	writerName, readerName = "orders.cluster-c9akciq32.eu-west-1.rds.amazonaws.com", "orders.cluster-ro-c9akciq32.eu-west-1.rds.amazonaws.com"
	hostA, hostB           = "127.0.29.1", "127.0.29.2"
)

// TestClusterFailsOver: the writer of a cluster that was found is killed, the other server
// promoted, and the names and members are moved as Aurora does. Clients get to the new writer,
// the configuration stays as it was, and the session of another database goes on.
func TestClusterFailsOver(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	names := dnsstub.Run(t)
	program, err := names.Wrap(t.TempDir(), binary)
	must(t, err)
	s.binary = program
	first := servers.RunPostgres(t, servers.PostgresOptions{Version: 18, Host: hostA, CA: s.ca})
	must(t, first.CreateRole(t.Context(), "app", planted))
	second := servers.RunPostgres(t, servers.PostgresOptions{Version: 18, Host: hostB, Port: first.Port, CA: s.ca, StandbyOf: first})
	names.Point(writerName, hostA)
	names.Point(readerName, hostB)
	tags := map[string]string{"proxied": "yes"}
	lead := func(members ...string) {
		s.aws.AddDBCluster(awsstub.DBCluster{Identifier: "orders", Engine: "aurora-postgresql", Endpoint: writerName, ReaderEndpoint: readerName, Port: first.Port, Database: "postgres", Tags: tags})
		for _, member := range members {
			s.aws.AddDBInstance(awsstub.DBInstance{Identifier: member, Engine: "aurora-postgresql", Cluster: "orders", Host: member + ".example", Port: first.Port})
		}
	}
	lead("orders-1", "orders-2")
	s.aws.CreateSecret("orders/app", fmt.Sprintf(`{"username": "app", "password": %q}`, planted))
	s.aws.SetTag("orders/app", ofCluster, rdsARN+"cluster:orders")
	s.add("another", 0, false)
	s.start(t, "")
	s.serves(t, []string{"another", "orders", "orders-reader"})
	running := newClients(t)
	running.begin(t, s, "another", "postgres")
	if got := s.recovery(t.Context(), "orders") + s.recovery(t.Context(), "orders-reader"); got != "falsetrue" {
		t.Errorf("in recovery: %s", got)
	}

	changes := s.logged("new configuration in force", `"discovery"`)
	must(t, first.Kill())
	must(t, second.Promote(t.Context()))
	names.Point(writerName, hostB)
	lead("orders-2") // as Aurora says it for a moment
	s.round(t)
	servers.RunPostgres(t, servers.PostgresOptions{Version: 18, Host: hostA, Port: first.Port, CA: s.ca, StandbyOf: second})
	names.Point(readerName, hostA)
	lead("orders-2", "orders-1")
	s.round(t)
	s.round(t)
	sidecar.Await(t, "the new writer and the new reader", func() bool {
		return s.recovery(t.Context(), "orders") == "false" && s.recovery(t.Context(), "orders-reader") == "true"
	})
	s.serves(t, []string{"another", "orders", "orders-reader"})
	running.whole(t, nil)
	if s.logged("new configuration in force", `"discovery"`) != changes || s.logged("database gone") != 0 {
		t.Error("the configuration has changed")
	}
}

// TestRoleAndTokens: with a role that may do all, of a process that may do nothing, a database with IAM
// is found beside one with a secret, and both are logged in to by that role.
func TestRoleAndTokens(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	s.allow(func(action, _ string) bool { return strings.HasPrefix(action, "sts:") })
	host, port := s.host(), 0
	verifier, err := servers.StartTokenVerifier(func(user, token string) error { return s.aws.VerifyRDSToken(token, host, port, user, time.Now()) })
	must(t, err)
	t.Cleanup(func() { _ = verifier.Close() })
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18, Host: host, CA: s.ca, IAM: verifier})
	port = pg.Port
	must(t, pg.CreateIAMRole(t.Context(), "shop"))
	s.aws.AddDBInstance(awsstub.DBInstance{Identifier: "tokens", Engine: "postgres", Host: host, Port: port, Database: "postgres", IAM: true, Tags: map[string]string{"proxied": ""}})
	s.add("orders", 0, false)
	entry := fmt.Sprintf("  iam_user: shop\n  prefix: eu.\n  region: eu-west-1\n  assume_role: {role_arn: %q, external_id: x7}\n", roleARN)
	s.start(t, entry)
	s.serves(t, []string{"eu.orders", "eu.tokens"})
	for _, name := range []string{"eu.orders", "eu.tokens"} {
		if s.recovery(t.Context(), name) != "false" {
			t.Errorf("%s: no session", name)
		}
	}
	if n := s.aws.Calls("AssumeRole"); n > 2 { // of discovery, and of the databases
		t.Errorf("%d calls of AssumeRole", n)
	}
	running := newClients(t)
	running.begin(t, s, "eu.orders", "postgres")
	running.begin(t, s, "eu.tokens", "postgres")
	s.write(t, strings.Replace(entry, "x7", "x7, session_name: another", 1)) // so AWS is asked by somebody else
	sidecar.Await(t, "the other name", func() bool { return s.logged("new configuration in force", `"changed":["eu.orders","eu.tokens"]`) == 1 })
	s.serves(t, []string{"eu.orders", "eu.tokens"})
	running.whole(t, nil)
	if s.logged("database gone") != 0 {
		t.Error("a database went for a moment")
	}
	if v, err := s.Metric("credproxy_discovery_databases", `region="eu-west-1"`, fmt.Sprintf("role=%q", roleARN)); err != nil || v != 2 {
		t.Errorf("%v databases in the metric, %v", v, err)
	}
}

// recovery asks whether a client's server is a standby; "" if there is none.
func (s *stand) recovery(ctx context.Context, name string) (is string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s/%s port=5432 user=anybody database=postgres sslmode=disable", s.dir, name))
	if err != nil {
		return ""
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()::text").Scan(&is); err != nil {
		return ""
	}
	return is
}
