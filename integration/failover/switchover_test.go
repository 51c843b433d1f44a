package failover_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// deployment is a pair of which one server is the blue side of a Blue/Green deployment of RDS,
// and the other, which follows it, the green one.
type deployment struct{ *stand }

// newDeployment makes both sides say so, and starts credproxy, which knows the blue one alone.
func newDeployment(t *testing.T, e engine, more ...string) *deployment {
	t.Helper()
	p := newPair(t, e)
	table, after := "mysql.rds_topology", "GRANT SELECT ON mysql.rds_topology TO "+appUser
	if _, ok := e.(postgres); ok {
		table, after = "public.sides", `CREATE SCHEMA rds_tools; GRANT USAGE ON SCHEMA rds_tools TO PUBLIC; GRANT SELECT ON public.sides TO PUBLIC;
			CREATE FUNCTION rds_tools.show_topology(text DEFAULT NULL) RETURNS SETOF public.sides LANGUAGE sql AS 'SELECT * FROM public.sides'`
	}
	execute(t, p.servers[p.writer], fmt.Sprintf(`CREATE TABLE %[1]s (id VARCHAR(20), endpoint VARCHAR(255), port INT, role VARCHAR(50), status VARCHAR(50), version VARCHAR(10));
		INSERT INTO %[1]s VALUES ('1', '%[2]s', %[4]d, 'BLUE_GREEN_DEPLOYMENT_SOURCE', 'AVAILABLE', '1.0'), ('2', '%[3]s', %[4]d, 'BLUE_GREEN_DEPLOYMENT_TARGET', 'AVAILABLE', '1.0');
		%[5]s`, table, rdsInstance[hostA], rdsInstance[hostB], p.port, after))
	d := &deployment{p.run(t, append([]string{"role: writer", "host: " + rdsInstance[hostA]}, more...)...)}
	if at := d.visit(t); at != hostA {
		t.Fatalf("at %s, want %s", at, hostA)
	}
	return d
}

// says makes a side say how far the switchover has got.
func (d *deployment) says(t *testing.T, host, status string) {
	t.Helper()
	table := "mysql.rds_topology"
	if _, ok := d.engine.(postgres); ok {
		table = "public.sides"
	}
	execute(t, d.servers[host], fmt.Sprintf("UPDATE %s SET status = '%s'", table, status))
}

// awaitPhase waits until credproxy has heard of a phase.
func (d *deployment) awaitPhase(t *testing.T, phase string) {
	t.Helper()
	sidecar.Await(t, "switchover that is "+phase, func() bool { return strings.Contains(d.proxy.Log(), `"phase":"`+phase+`"`) })
}

// visit logs in and tells at which server.
func (s *stand) visit(t *testing.T) (at string) {
	t.Helper()
	session, err := s.connect(t.Context(), s.door(t))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer session.close()
	at, reader, err := session.who(t.Context())
	if err != nil || reader {
		t.Errorf("at %s, reader %v (%v)", at, reader, err)
	}
	return at
}

func eachDeployment(t *testing.T, test func(t *testing.T, e engine)) {
	for _, e := range []engine{postgres{version: 18}, mySQL{flavor: "mysql"}, mySQL{flavor: "mariadb"}} {
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

// TestSwitchoverLeadsToGreen has the green side take over while the blue one goes on saying
// that it is a writer: who logs in meanwhile waits, and gets the green side; who was at the
// blue one has to leave it.
func TestSwitchoverLeadsToGreen(t *testing.T) {
	eachDeployment(t, func(t *testing.T, e engine) {
		d := newDeployment(t, e, "failover: {monitor: 200ms}")
		idle, err := d.connect(t.Context(), d.door(t))
		must(t, err)
		t.Cleanup(idle.close)
		d.says(t, hostA, "SWITCHOVER_INITIATED")
		d.awaitPhase(t, "initiated")
		if at := d.visit(t); at != hostA {
			t.Errorf("at %s before the switchover, want %s", at, hostA)
		}
		d.says(t, hostA, "SWITCHOVER_IN_PROGRESS")
		d.awaitPhase(t, "under way")
		type visited struct {
			at   string
			when time.Time
		}
		waiting := make(chan visited, 4)
		for range cap(waiting) {
			go func() { waiting <- visited{d.visit(t), time.Now()} }()
		}
		d.says(t, hostA, "SWITCHOVER_IN_POST_PROCESSING")
		must(t, d.servers[hostB].Promote(t.Context()))
		d.says(t, hostB, "SWITCHOVER_COMPLETED")
		completed := time.Now()
		d.says(t, hostA, "SWITCHOVER_COMPLETED")
		for range cap(waiting) {
			if v := <-waiting; v.at != hostB || v.when.Before(completed) {
				t.Errorf("a login that waited is at %s, %v after the switchover", v.at, v.when.Sub(completed))
			}
		}
		if at := d.visit(t); at != hostB {
			t.Errorf("at %s after the switchover, want %s", at, hostB)
		}
		sidecar.Await(t, "end of the sessions at the blue side", func() bool {
			n, err := d.sessions(t.Context(), d.servers[hostA], appUser)
			must(t, err)
			return n == 0
		})
		if err := idle.write(t.Context(), 0, 0); err == nil {
			t.Error("a session at the blue side goes on")
		}
	})
}

// TestSwitchoverIsCalledOff has logins wait for a switchover that does not come about.
func TestSwitchoverIsCalledOff(t *testing.T) {
	eachDeployment(t, func(t *testing.T, e engine) {
		d := newDeployment(t, e, "failover: {monitor: 200ms}")
		d.says(t, hostA, "SWITCHOVER_IN_PROGRESS")
		d.awaitPhase(t, "under way")
		waiting := make(chan string, 1)
		go func() { waiting <- d.visit(t) }()
		d.says(t, hostA, "AVAILABLE")
		if at := <-waiting; at != hostA {
			t.Errorf("at %s, want %s", at, hostA)
		}
	})
}

// TestSwitchoverTakesTooLong has logins wait no longer than they are to.
func TestSwitchoverTakesTooLong(t *testing.T) {
	flavor := servers.MySQLFlavors()[1]
	d := newDeployment(t, mySQL{flavor}, "failover: {monitor: 200ms, hold: 2s}")
	d.says(t, hostA, "SWITCHOVER_IN_PROGRESS")
	d.awaitPhase(t, "under way")
	if at := d.visit(t); at != hostA {
		t.Errorf("at %s, want %s", at, hostA)
	}
}
