package failover_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
	"github.com/credproxy/credproxy/integration/sqltap"
)

// TestMySQLAnyAsksNothing is TestAnyAsksNothing for MySQL and MariaDB, whose servers are asked
// for their role once in each login of a client that wants one.
func TestMySQLAnyAsksNothing(t *testing.T) {
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) {
			t.Parallel()
			my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})
			must(t, my.CreateUser(t.Context(), appUser, appPassword, ""))
			aws, err := awsstub.Start(awsstub.Options{})
			must(t, err)
			t.Cleanup(aws.Close)
			config := "databases:\n"
			taps := map[string]*sqltap.Tap{}
			for _, role := range []string{"any", "writer"} {
				tap, err := sqltap.Start(sqltap.Options{Engine: "mysql", Server: my.Addr(), Certificate: my.Certificate, CA: my.CA})
				must(t, err)
				t.Cleanup(tap.Close)
				taps[role] = tap
				secret := aws.CreateSecret("prod/"+role, mySQL{flavor}.secret(appUser, appPassword, tap.Host(), tap.Port()))
				config += fmt.Sprintf("  - {name: %s, engine: %s, role: %s, listen: '127.0.0.1:0', credentials: {secrets_manager: {secret_id: %q}}, tls: {ca_file: %q}}\n", role, flavor, role, secret, my.CAFile)
			}
			proxy := sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: aws.Env()}, appPassword)
			for role := range taps {
				for range 2 {
					c := mysql.NewConfig()
					c.User, c.Net, c.Addr = "anybody", "tcp", proxy.Addr(t, role)
					connector, err := mysql.NewConnector(c)
					must(t, err)
					db := sql.OpenDB(connector)
					_, err = db.ExecContext(t.Context(), "DO 2")
					must(t, err)
					must(t, db.Close())
				}
			}
			count := func(role, statement string) (n int) {
				for _, s := range taps[role].Statements() {
					if strings.HasPrefix(s, statement) {
						n++
					}
				}
				return n
			}
			sidecar.Await(t, "questions of the monitor", func() bool {
				return count("writer", "SELECT @@global.innodb_read_only, @@global.read_only, CONCAT") > 3
			})
			sidecar.Await(t, "probe", func() bool { return count("any", "SELECT 1") == 1 && count("writer", "SELECT 1") == 1 })
			got := taps["any"].Statements()
			slices.Sort(got)
			if n := taps["any"].Logins(); n != 3 || !slices.Equal(got, []string{"DO 2", "DO 2", "SELECT 1"}) {
				t.Errorf("role any: %d logins, statements %q", n, got)
			}
			if n := taps["writer"].Logins(); n != 4 || count("writer", "SET SESSION net_retry_count") != 2 {
				t.Errorf("role writer: %d logins, statements %q", n, taps["writer"].Statements())
			}
		})
	}
}
