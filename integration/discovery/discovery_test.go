package discovery_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// TestDatabasesComeAndGo: 50 databases of three engines are found; ten go, fail over or are
// renamed while sessions of all run queries, and none of another breaks.
func TestDatabasesComeAndGo(t *testing.T) {
	s := newStand(t, "postgres", "mysql", "mariadb")
	engines := map[string]string{}
	var names []string
	add := func(name string, i int, cluster bool) {
		s.add(name, i, cluster)
		names = append(names, name)
		engines[name] = s.engines[i%3].name
	}
	for i := range 50 {
		add(fmt.Sprintf("db-%02d", i), i, i%6 == 0)
	}
	for i := range 100 { // of others, so that there is more than one page
		s.aws.AddDBInstance(awsstub.DBInstance{Identifier: fmt.Sprintf("other-%03d", i), Engine: "postgres", Host: "other.example", Port: 5432})
	}
	s.start(t, "")
	s.serves(t, names)
	running := newClients(t)
	for _, name := range names {
		running.begin(t, s, name, engines[name])
	}
	away := map[string]bool{}
	gone := func(all ...string) {
		for _, name := range all {
			away[name] = true
		}
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(all, name) })
	}

	t.Log("ten come")
	for i := 50; i < 60; i++ {
		add(fmt.Sprintf("db-%02d", i), i, false)
	}
	s.round(t)
	s.serves(t, names)
	running.whole(t, away)

	t.Log("clusters fail over")
	for i := 0; i < 50; i += 6 {
		s.lead(fmt.Sprintf("db-%02d", i), 2, 1)
	}
	before := s.logged("new configuration in force", `"discovery"`)
	s.round(t)
	s.round(t)
	s.serves(t, names)
	running.whole(t, away)
	if n := s.logged("new configuration in force", `"discovery"`); n != before {
		t.Errorf("a failover is %d new configurations", n-before)
	}

	t.Log("five go: their sessions have shutdown.drain_timeout, and all others do not notice")
	leaving := []string{"db-01", "db-02", "db-03", "db-06", "db-58"}
	for _, name := range leaving {
		s.remove(name)
	}
	s.round(t)
	s.serves(t, names)
	running.whole(t, away)
	gone(leaving...)
	s.round(t)
	s.serves(t, names)
	running.whole(t, away)
	if _, err := s.connect(t.Context(), "db-01", "mysql"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a client of a database that is gone: %v", err)
	}

	t.Log("five are renamed")
	for i := 10; i < 15; i++ {
		old := fmt.Sprintf("db-%02d", i)
		s.remove(old)
		add("new-"+old, i, false)
	}
	s.round(t)
	s.serves(t, names) // by both names
	for i := 10; i < 15; i++ {
		name := fmt.Sprintf("new-db-%02d", i)
		running.begin(t, s, name, engines[name])
		gone(fmt.Sprintf("db-%02d", i))
	}
	s.round(t)
	s.serves(t, names)
	running.whole(t, away)

	t.Log("one comes back")
	add("db-02", 2, false)
	s.round(t)
	s.serves(t, names)
	running.whole(t, away)
	// What a round costs: pages of 100 of the clusters, the instances and the secrets.
	rounds := int(s.rounds(t))
	for op, pages := range map[string]int{"DescribeDBClusters": 1, "DescribeDBInstances": 2, "ListSecrets": 1} {
		counted, err := s.Metric("credproxy_discovery_api_calls_total", fmt.Sprintf("operation=%q", op), `result="ok"`)
		if got := s.aws.Calls(op); err != nil || got != rounds*pages || int(counted) != got {
			t.Errorf("%d calls of %s in %d rounds, of which the metric has %v, %v; want %d a round", got, op, rounds, counted, err, pages)
		}
	}
	t.Logf("%d rounds; %d queries of %d sessions", rounds, running.total(), len(running.stop))
	for _, line := range []string{"database found", "database gone"} {
		if s.logged(line, `"audit":true`, `"db-01"`) != 1 {
			t.Errorf("%q of db-01 is in the log %d times", line, s.logged(line, `"db-01"`))
		}
	}
}
