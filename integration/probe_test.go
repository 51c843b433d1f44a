package integration_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/rotator"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// eachRotating runs f with a server of each kind.
func eachRotating(t *testing.T, f func(t *testing.T, s *rotatingServer)) {
	for _, kind := range []string{"postgres", "mysql", "mariadb"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			if kind == "postgres" {
				f(t, rotatingPostgres(t, servers.PostgresOptions{}))
				return
			}
			f(t, rotatingMySQL(t, kind))
		})
	}
}

// exec runs a statement as the superuser.
func (s *rotatingServer) exec(t *testing.T, sql string) {
	t.Helper()
	if err := s.Database.(superuser).Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// probed waits for a line about a probe with all of parts.
func (r *rotating) probed(t *testing.T, parts ...string) {
	t.Helper()
	sidecar.Await(t, strings.Join(parts, ", "), func() bool {
		for line := range strings.Lines(r.proxy.Log()) {
			if containsAll(line, parts) {
				return true
			}
		}
		return false
	})
}

// probe is what GET /status says of credproxy's own last login.
func (r *rotating) probe(t *testing.T) (p struct {
	OK      bool
	Error   string
	Version string `json:"version_id"`
}) {
	t.Helper()
	var s struct {
		Databases []struct{ Probe json.RawMessage }
	}
	_, body, err := r.proxy.Get("/status")
	if err == nil {
		err = json.Unmarshal([]byte(body), &s)
	}
	if err == nil && len(s.Databases) == 1 && s.Databases[0].Probe != nil {
		err = json.Unmarshal(s.Databases[0].Probe, &p)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	return p
}

// TestProbeAfterRotation has no client while a secret rotates: credproxy itself
// finds out, at its start and then, that the database takes the new version. A
// version that the database does not know is reported, while clients go on with the
// one before; and when it does know it, that is noticed too.
func TestProbeAfterRotation(t *testing.T) {
	eachRotating(t, func(t *testing.T, s *rotatingServer) {
		r := s.rotate(t, "app", false, sidecar.Options{}, "rotation: {refresh: 300ms}")
		r.probed(t, "probe succeeded", r.current())
		if code, why, err := r.proxy.Get("/readiness"); err != nil || code != 200 {
			t.Errorf("readiness after the first proof: %d %s %v", code, why, err)
		}
		r.finish(t)
		r.probed(t, "probe succeeded", r.current())
		if p := r.probe(t); !p.OK || p.Version != r.current() {
			t.Errorf("status after the rotation: %+v", p)
		}
		if n, err := r.proxy.Metric("credproxy_connections_total"); err == nil && n != 0 {
			t.Errorf("%v clients have connected; nobody should have", n)
		}
		good := r.current()
		bad := r.breakOff(t, rotator.Create)
		r.aws.MoveLabel(secretName, awsstub.Current, bad)
		r.probed(t, "probe failed", "other_version", good)
		if p := r.probe(t); p.OK || p.Version != good || !strings.Contains(p.Error, "another version of the credential than the current one") {
			t.Errorf("status with a version that the database does not know: %+v", p)
		}
		awaitMetric(t, r.proxy, 0, "credproxy_probe_success")
		before := r.rejected(t)
		load := r.load(t, 2)
		load.more(t, 10)
		load.end()
		if n := r.rejected(t); n != before || n > 3 {
			t.Errorf("the database refused %d logins, and %d after clients came", before, n)
		}
		if code, why, err := r.proxy.Get("/readiness"); err != nil || code != 200 {
			t.Errorf("readiness while clients go on: %d %s %v", code, why, err)
		}
		r.set(t, bad)
		load = r.load(t, 2)
		load.more(t, 10)
		load.end()
		r.probed(t, "probe succeeded", bad)
		awaitMetric(t, r.proxy, 1, "credproxy_probe_success")
	})
}

// superuser runs statements at a server.
type superuser interface {
	Exec(ctx context.Context, sql string) error
}

// rows is how many rows a table has.
func (s *rotatingServer) rows(t *testing.T, table string) (n int) {
	t.Helper()
	query := "SELECT count(*) FROM " + table
	pg, ok := s.Database.(rotator.Postgres)
	if !ok {
		return mySQLNumber(t, s.Database.(rotator.MySQL).MySQL, query)
	}
	conn, err := pg.Superuser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestProbeWrites has credproxy write to a table every so often: one that is not
// there, one that it may not write to, one that it may, and one on a server that
// has become a reader. No row is left, and clients do not notice.
func TestProbeWrites(t *testing.T) {
	const (
		missing, denied = "Create it in the database", "GRANT INSERT, SELECT ON elsewhere.probe TO app"
		mysqlTable      = "CREATE TABLE elsewhere.probe (id BIGINT AUTO_INCREMENT PRIMARY KEY)"
		postgresTable   = "CREATE TABLE elsewhere.probe (at timestamptz DEFAULT now())"
	)
	eachRotating(t, func(t *testing.T, s *rotatingServer) {
		// MySQL does not tell who may not look whether there is a table.
		failures := [][2]string{{denied, "GRANT INSERT, SELECT ON elsewhere.* TO app"}, {missing, mysqlTable}}
		reader, writer := "SET GLOBAL read_only = ON", "SET GLOBAL read_only = OFF"
		if s.name == "postgres" {
			failures = [][2]string{{missing, postgresTable}, {denied, "GRANT INSERT, SELECT ON elsewhere.probe TO app"}}
			// The error is that of a standby, 25006.
			reader, writer = "ALTER ROLE app SET default_transaction_read_only = on", "ALTER ROLE app RESET default_transaction_read_only"
		}
		s.exec(t, "CREATE SCHEMA elsewhere")
		r := s.rotate(t, "app", false, sidecar.Options{}, "probe: {interval: 300ms, write_table: elsewhere.probe}")
		if s.name == "postgres" {
			s.exec(t, "GRANT USAGE ON SCHEMA elsewhere TO app")
		}
		for _, f := range failures {
			sidecar.Await(t, f[0], func() bool { return strings.Contains(r.probe(t).Error, f[0]) })
			if code, why, err := r.proxy.Get("/readiness"); err != nil || code != 200 {
				t.Errorf("readiness with a table that cannot be written to: %d %s %v", code, why, err)
			}
			s.exec(t, f[1])
		}
		awaitMetric(t, r.proxy, 1, "credproxy_probe_success")
		s.exec(t, reader)
		awaitMetric(t, r.proxy, 0, "credproxy_probe_success")
		if p := r.probe(t); p.OK || !strings.Contains(p.Error, "Does host name a reader") {
			t.Errorf("status on a reader: %+v", p)
		}
		if _, err := r.visit(t.Context()); err != nil {
			t.Errorf("a client on a reader: %v", err)
		}
		s.exec(t, writer)
		awaitMetric(t, r.proxy, 1, "credproxy_probe_success")
		r.probed(t, "probe failed", "not_writable")
		if n := s.rows(t, "elsewhere.probe"); n != 0 {
			t.Errorf("probes have left %d rows", n)
		}
	})
}
