package failover_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// The names that servers have in RDS, and one of another account's.
const (
	rdsCluster = "orders.cluster-abc123.eu-west-1.rds.amazonaws.com"
	rdsForeign = "orders-c.evil666.eu-west-1.rds.amazonaws.com"
	hostC      = "127.0.0.4"
)

var rdsInstance = map[string]string{
	hostA: "orders-a.abc123.eu-west-1.rds.amazonaws.com",
	hostB: "orders-b.abc123.eu-west-1.rds.amazonaws.com",
}

// fleet makes servers know of each other as a kind of RDS does.
type fleet struct {
	name  string
	of    engine
	found func(t *testing.T, p *pair) // makes what servers are asked for; also what leads elsewhere
}

func fleets() []fleet {
	return []fleet{
		{"Aurora PostgreSQL", postgres{version: 15}, auroraPostgres},
		{"Multi-AZ PostgreSQL", postgres{version: 18}, multiAZPostgres},
		{"Multi-AZ MySQL", mySQL{flavor: "mysql"}, multiAZMySQL},
		{"Multi-AZ MariaDB", mySQL{flavor: "mariadb"}, multiAZMySQL},
	}
}

func execute(t *testing.T, s server, sql string) {
	t.Helper()
	must(t, s.(interface {
		Exec(ctx context.Context, sql string) error
	}).Exec(t.Context(), sql))
}

func auroraPostgres(t *testing.T, p *pair) {
	execute(t, p.servers[p.writer], fmt.Sprintf(`SET allow_system_table_mods TO on;
		CREATE TABLE fleet (server_id text, session_id text, host text);
		INSERT INTO fleet VALUES ('orders-a', 'MASTER_SESSION_ID', '%s'), ('orders-b', 'a session', '%s'), ('orders-c.evil666', 'another', ''), ('%s', 'one more', '');
		GRANT SELECT ON fleet TO PUBLIC;
		CREATE FUNCTION pg_catalog.aurora_replica_status() RETURNS TABLE (server_id text, session_id text, replica_lag_in_msec float8, last_update_timestamp timestamptz)
			LANGUAGE sql AS 'SELECT server_id, session_id, 5, now() FROM public.fleet';
		CREATE FUNCTION pg_catalog.aurora_db_instance_identifier() RETURNS text
			LANGUAGE sql AS 'SELECT server_id FROM public.fleet WHERE fleet.host = pg_catalog.host(inet_server_addr())'`, hostA, hostB, rdsForeign))
}

func multiAZPostgres(t *testing.T, p *pair) {
	execute(t, p.servers[p.writer], fmt.Sprintf(`CREATE SCHEMA rds_tools;
		GRANT USAGE ON SCHEMA rds_tools TO PUBLIC;
		CREATE FUNCTION rds_tools.show_topology(text DEFAULT NULL) RETURNS TABLE (id text, endpoint text, port int)
			LANGUAGE sql AS $$ VALUES ('db-A', '%[1]s', %[4]d), ('db-B', '%[2]s', %[4]d), ('db-C', '%[3]s', %[4]d), ('db-D', '%[5]s', %[4]d) $$;
		CREATE FUNCTION rds_tools.dbi_resource_id() RETURNS text LANGUAGE sql AS $$ SELECT CASE host(inet_server_addr()) WHEN '%[6]s' THEN 'db-A' ELSE 'db-B' END $$;
		CREATE FUNCTION rds_tools.multi_az_db_cluster_source_dbi_resource_id() RETURNS text LANGUAGE sql AS $$ SELECT 'db-A'::text $$`,
		rdsInstance[hostA], rdsInstance[hostB], rdsForeign, p.port, hostC, hostA))
}

func multiAZMySQL(t *testing.T, p *pair) {
	id := func(host string) (n uint32) {
		root, err := p.servers[host].(*servers.MySQL).Superuser()
		must(t, err)
		defer root.Close()
		must(t, root.QueryRowContext(t.Context(), "SELECT @@global.server_id").Scan(&n))
		return n
	}
	execute(t, p.servers[p.writer], fmt.Sprintf(`CREATE TABLE mysql.rds_topology (id BIGINT, endpoint VARCHAR(255), port INT);
		INSERT INTO mysql.rds_topology VALUES (%[1]d, '%[2]s', %[5]d), (%[3]d, '%[4]s', %[5]d), (1, '%[6]s', %[5]d), (2, '%[7]s', %[5]d);
		GRANT SELECT ON mysql.rds_topology TO %[8]s`, id(hostA), rdsInstance[hostA], id(hostB), rdsInstance[hostB], p.port, rdsForeign, hostC, appUser))
}

// thief counts who comes to an address to which only servers that lie lead.
func (p *pair) thief(t *testing.T) (visits *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(hostC, fmt.Sprint(p.port)))
	must(t, err)
	visits = new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	p.names.Point(rdsForeign, hostC)
	p.names.Point("orders-c.evil666.abc123.eu-west-1.rds.amazonaws.com", hostC)
	return visits
}

// TestServersTellOfEachOther has a failover of which credproxy can learn from the servers
// alone: its configuration has the cluster's name, which goes on leading to the old writer. The
// servers also tell of places that are not theirs, where nobody may go.
func TestServersTellOfEachOther(t *testing.T) {
	for _, f := range fleets() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, f.of)
			f.found(t, p)
			visits := p.thief(t)
			s := p.run(t, "role: writer", "host: "+rdsCluster, "failover: {monitor: 100ms}")
			if at := s.visit(t); at != hostA {
				t.Fatalf("at %s, want %s", at, hostA)
			}
			sidecar.Await(t, "knowledge of the servers", func() bool { return strings.Contains(s.proxy.Log(), rdsInstance[hostB]) })
			c := s.handOver(t)
			if at := s.visit(t); at != c.to {
				t.Errorf("at %s, want %s", at, c.to)
			}
			if n := visits.Load(); n > 0 {
				t.Errorf("%d connections where only a server that lies leads", n)
			}
		})
	}
}
