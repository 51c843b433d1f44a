package upgrade_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// TestUpgradeWithDiscovery: the new process has found what the old one had before it takes over,
// at the same sockets.
func TestUpgradeWithDiscovery(t *testing.T) {
	s := newStand(t)
	s.aws.AddDBInstance(awsstub.DBInstance{Identifier: "found", Engine: "postgres", Host: s.pg.Host, Port: s.pg.Port, Database: "postgres"})
	s.aws.SetTag("prod/pg", "aws:rds:primaryDBInstanceArn", "arn:aws:rds:eu-west-1:"+awsstub.AccountID+":db:found")
	s.configure(fmt.Sprintf("discover: {interval: 24h, each: {listen: 'unix:%s/{name}/.s.PGSQL.5432', tls: {ca_file: %q}}}", s.dir, s.pg.CAFile))
	isServed := func() bool {
		_, body, err := s.proxy.Get("/status")
		_, found, there := strings.Cut(body, `"name": "found"`)
		return err == nil && there && strings.Contains(found[:min(len(found), 400)], `"ready": true`)
	}
	await(t, "the database found", isServed)
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s/found port=5432 user=anybody sslmode=disable", s.dir))
		must(t, err)
		return conn
	}
	old := connect()
	defer old.Close(t.Context())
	rounds := s.aws.Calls("DescribeDBInstances")
	s.upgrade()
	if st := s.status(); st.PID != s.pids[1] || !st.Ready || !isServed() || len(st.Predecessors) != 1 || st.Predecessors[0].Sessions != 1 {
		t.Errorf("%+v", st)
	}
	must(t, old.Ping(t.Context()))
	again := connect()
	defer again.Close(t.Context())
	must(t, again.Ping(t.Context()))
	if n := s.aws.Calls("DescribeDBInstances") - rounds; n != 1 {
		t.Errorf("%d rounds for an upgrade, want 1", n)
	}
}
