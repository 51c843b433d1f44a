package integration_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
)

// With session.role every session is the owner's, whichever user it logs in as,
// and what applications do to clean up a session does not change that.
func TestPostgresRole(t *testing.T) {
	const role = `Owner "☃"`
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		if err := s.CreateRole(t.Context(), "app_clone", appPassword); err != nil {
			t.Fatal(err)
		}
		owner := pgx.Identifier{role}.Sanitize()
		s.exec(t, "CREATE ROLE "+owner+"; GRANT "+owner+" TO app, app_clone; GRANT CREATE ON SCHEMA public TO "+owner)
		s.keepsRole(t, role, "app")

		// The other of two alternating users takes over.
		if err := s.SetPassword(t.Context(), "app", "no longer the secret's"); err != nil {
			t.Fatal(err)
		}
		s.aws.PutSecret(s.arn, secretJSON(s.Postgres, "app_clone", appPassword), awsstub.Current)
		s.keepsRole(t, role, "app_clone")
		conn := pgConnect(t, s.conninfo("sslmode=disable"))
		if got := ask(t, conn, "SELECT string_agg(DISTINCT tableowner, ',') FROM pg_tables WHERE tablename IN ('by_app', 'by_app_clone')"); got != role {
			t.Errorf("tables of %s", got)
		}
		if _, err := conn.Exec(t.Context(), "DROP TABLE by_app, by_app_clone"); err != nil {
			t.Error(err)
		}
	}, `session: {role: 'Owner "☃"'}`)
}

// keepsRole asserts that a new session, logged in as user, has the role and
// comes back to it.
func (s *pgStand) keepsRole(t *testing.T, role, user string) {
	t.Helper()
	conn := pgConnect(t, s.conninfo("sslmode=disable", "default_query_exec_mode=simple_protocol"))
	check := func(after string) {
		t.Helper()
		if got := ask(t, conn, "SELECT current_user || ' of ' || session_user"); got != role+" of "+user {
			t.Errorf("after %s: %s", after, got)
		}
		if got := ask(t, conn, "SHOW role"); got != role {
			t.Errorf("after %s: role %s", after, got)
		}
	}
	check("the login")
	if _, err := conn.Exec(t.Context(), "CREATE TABLE by_"+user+" (id int)"); err != nil {
		t.Error(err)
	}
	for _, statement := range []string{"DISCARD ALL", "RESET ROLE", "RESET ALL", "SET SESSION AUTHORIZATION DEFAULT", "SET ROLE NONE",
		"DISCARD ALL", "SET ROLE NONE", "RESET ROLE", "BEGIN; SET LOCAL ROLE NONE; ROLLBACK"} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
		if statement == "SET ROLE NONE" {
			continue
		}
		check(statement)
	}
}

// A client cannot choose another role at its login; a role that the user is no
// member of is the database's to refuse.
func TestPostgresRoleRefused(t *testing.T) {
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		s.exec(t, "CREATE ROLE owner; CREATE ROLE other; GRANT other TO app")
		_, err := pgx.Connect(t.Context(), s.conninfo("sslmode=disable"))
		if !hasCode(err, "42501") {
			t.Errorf("no member of the role: %v", err)
		}
		s.exec(t, "GRANT owner TO app")
		conn := pgConnect(t, s.conninfo("sslmode=disable", "role=other"))
		if got := ask(t, conn, "SELECT current_user"); got != "owner" {
			t.Errorf("the client chose %s", got)
		}
		// Replication has no tables, and a physical one no catalog to find the role in.
		output(t, program(t, s.Version, "pg_receivewal", "-w", "-d", s.conninfo(), "--create-slot", "--slot=role", "--no-loop"))
	}, "session: {role: owner}")
}
