package failover_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
	"github.com/credproxy/credproxy/integration/sqltap"
)

// TestAnyAsksNothing has two databases at one server, and looks at all that it gets: of that
// of role any credproxy's one probe and what clients send, of the other the monitor's
// questions, by which the test knows that time enough has passed. Servers that tell their
// role at the login are not asked for it there.
func TestAnyAsksNothing(t *testing.T) {
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18})
	must(t, pg.CreateRole(t.Context(), appUser, appPassword))
	aws, err := awsstub.Start(awsstub.Options{})
	must(t, err)
	t.Cleanup(aws.Close)
	config := "databases:\n"
	taps := map[string]*sqltap.Tap{}
	for _, role := range []string{"any", "writer"} {
		tap, err := sqltap.Start(sqltap.Options{Engine: "postgres", Server: pg.Addr(), Certificate: pg.Certificate, CA: pg.CA})
		must(t, err)
		t.Cleanup(tap.Close)
		taps[role] = tap
		secret := aws.CreateSecret("prod/"+role, postgres{}.secret(appUser, appPassword, tap.Host(), tap.Port()))
		config += fmt.Sprintf("  - {name: %s, role: %s, listen: '127.0.0.1:0', credentials: {secrets_manager: {secret_id: %q}}, tls: {ca_file: %q}}\n", role, role, secret, pg.CAFile)
	}
	proxy := sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: aws.Env()}, appPassword)
	for role := range taps {
		for range 2 {
			conn, err := pgx.Connect(t.Context(), "postgres://anybody@"+proxy.Addr(t, role)+"/postgres?sslmode=disable&default_query_exec_mode=simple_protocol")
			must(t, err)
			_, err = conn.Exec(t.Context(), "SELECT 2")
			must(t, err)
			must(t, conn.Close(t.Context()))
		}
	}
	const question = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_postmaster_start_time()"
	count := func(role, statement string) (n int) {
		for _, s := range taps[role].Statements() {
			if strings.HasPrefix(s, statement) {
				n++
			}
		}
		return n
	}
	sidecar.Await(t, "questions of the monitor", func() bool { return count("writer", question) > 3 })
	sidecar.Await(t, "probe", func() bool { return count("any", "SELECT 1") == 1 && count("writer", "SELECT 1") == 1 })
	got := taps["any"].Statements()
	slices.Sort(got)
	if n := taps["any"].Logins(); n != 3 || !slices.Equal(got, []string{"SELECT 1", "SELECT 2", "SELECT 2"}) {
		t.Errorf("role any: %d logins, statements %q", n, got)
	}
	if n := taps["writer"].Logins(); n != 4 || slices.Contains(taps["writer"].Statements(), "SELECT pg_catalog.pg_is_in_recovery()") {
		t.Errorf("role writer: %d logins, statements %q", n, taps["writer"].Statements())
	}
}
