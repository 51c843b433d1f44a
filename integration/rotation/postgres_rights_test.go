package rotation_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
)

// rightsOf is what a role may do, is a member of, and is set to, but for its name, and for
// its being a member of the other one.
func (s *stand) rightsOf(t *testing.T, role string) string {
	t.Helper()
	version, err := s.query(t.Context(), "SELECT current_setting('server_version_num')::int / 10000")
	must(t, err)
	options := ""
	if version >= "16" {
		options = ", bool_or(inherit_option), bool_or(set_option)"
	}
	other := strings.TrimSuffix(role, "_clone")
	if other == role {
		other += "_clone"
	}
	var all []string
	for _, sql := range []string{
		"SELECT rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil::text FROM pg_roles WHERE rolname = '%s'",
		"SELECT r.rolname, bool_or(admin_option)" + options + " FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member WHERE u.rolname = '%s' AND r.rolname <> '" + other + "' GROUP BY 1 ORDER BY 1",
		"SELECT coalesce(d.datname, '-'), (SELECT array_agg(x ORDER BY x) FROM unnest(s.setconfig) x)::text FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE r.rolname = '%s' ORDER BY 1",
	} {
		text, err := s.query(t.Context(), fmt.Sprintf(sql, role))
		must(t, err)
		all = append(all, text)
	}
	return strings.Join(all, "\n")
}

// TestRightsPostgres changes what the current user may do between rotations, and holds that
// the other one is made like it each time, whichever it is.
func TestRightsPostgres(t *testing.T) {
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			s := newStand(t, postgres(t, servers.PostgresOptions{Version: version}))
			admin := ""
			if version >= 16 {
				admin = "; GRANT reader, writer, \"odd \"\"role\" TO master WITH ADMIN OPTION"
			}
			must(t, s.exec(t.Context(), `CREATE ROLE reader; CREATE ROLE writer; CREATE ROLE "odd ""role"; CREATE TABLE public.orders (id int)`+admin))
			must(t, s.exec(t.Context(), "CREATE DATABASE shop"))
			must(t, s.exec(t.Context(), `GRANT SET ON PARAMETER "my.setting" TO master`))
			changes := []string{
				`ALTER ROLE %[1]s CREATEDB CONNECTION LIMIT 7 VALID UNTIL '2099-01-01'; GRANT reader TO %[1]s; GRANT writer TO %[1]s WITH ADMIN OPTION;
				 ALTER ROLE %[1]s SET search_path TO "$user", 'it''s', "odd "" name"; ALTER ROLE %[1]s IN DATABASE shop SET statement_timeout = '5min';
				 ALTER ROLE %[1]s SET "my.setting" = 'a, "b"'; RESET ROLE; GRANT SELECT ON public.orders TO app`,
				`ALTER ROLE %[1]s NOCREATEDB NOINHERIT CONNECTION LIMIT -1 VALID UNTIL 'infinity'; REVOKE writer FROM %[1]s CASCADE; GRANT "odd ""role" TO %[1]s; ALTER ROLE %[1]s SET DateStyle = 'German, YMD'`,
				`REVOKE "odd ""role" FROM %[1]s CASCADE; ALTER ROLE %[1]s RESET search_path; ALTER ROLE %[1]s IN DATABASE shop RESET statement_timeout; ALTER ROLE %[1]s INHERIT`,
				`GRANT writer TO %[1]s; ALTER ROLE %[1]s SET search_path TO ''; REVOKE ADMIN OPTION FOR writer FROM %[1]s`,
				`ALTER ROLE %[1]s RESET ALL; RESET ROLE; REVOKE ALL ON public.orders FROM app`,
			}
			for i, change := range changes {
				before, _ := s.labelled(awsstub.Current)
				must(t, s.exec(t.Context(), "SET ROLE master; "+fmt.Sprintf(change, before)))
				want := s.rightsOf(t, before)
				s.must(t, "rotate", s.aws.Secret(s.secret).ARN, "--master", masterSecret)
				after, password := s.labelled(awsstub.Current)
				if after == before {
					t.Fatalf("the user is %s, as before", after)
				}
				for _, user := range []string{before, after} {
					if got := s.rightsOf(t, user); got != want {
						t.Errorf("after change %d %s has\n%s\nwant\n%s", i, user, got, want)
					}
				}
				s.works(t, awsstub.Current)
				s.works(t, awsstub.Previous)
				if i == 0 {
					if err := s.ask(t.Context(), after, password, "SELECT FROM public.orders"); err != nil {
						t.Errorf("%s may not read what was granted to app: %v", after, err)
					}
				}
				// A second look has nothing to do but the password.
				if out := s.must(t, "rotate", s.secret, "--master", masterSecret, "--dry-run"); strings.Count(out, "would run") != 3 {
					t.Errorf("after change %d:\n%s", i, out)
				}
			}
		})
	}
}

// TestOwnerRolePostgres has both users make what they make as a common role.
func TestOwnerRolePostgres(t *testing.T) {
	s := newStand(t, postgres(t, servers.PostgresOptions{Version: 18}))
	out, err := s.run(t, "rotate", s.secret, "--master", masterSecret, "--owner-role", "shop")
	if err == nil || !strings.Contains(out, "there is no role shop") || !strings.Contains(out, "CREATE ROLE") {
		t.Errorf("without the role: %v\n%s", err, out)
	}
	must(t, s.exec(t.Context(), "CREATE ROLE shop; CREATE SCHEMA shop AUTHORIZATION shop; GRANT shop TO master WITH ADMIN OPTION"))
	for i := range 3 {
		s.must(t, "rotate", s.secret, "--master", masterSecret, "--owner-role", "shop")
		user, password := s.labelled(awsstub.Current)
		must(t, s.ask(t.Context(), user, password, fmt.Sprintf("CREATE TABLE shop.t%d ()", i)))
	}
	owners, err := s.query(t.Context(), "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'shop'")
	if err != nil || owners != "shop" {
		t.Errorf("tables of owners %q, %v", owners, err)
	}
}

// TestMD5 holds that a role with an md5 password gets a SCRAM verifier, unless the operator
// says that it must be md5, and that no other role gets an md5 one.
func TestMD5(t *testing.T) {
	s := newStand(t, postgres(t, servers.PostgresOptions{Version: 15, Auth: "md5"}))
	stored := func() string {
		t.Helper()
		text, err := s.query(t.Context(), "SELECT substr(rolpassword, 1, 3) FROM pg_authid WHERE rolname = 'app'")
		must(t, err)
		return text
	}
	must(t, s.exec(t.Context(), "SET password_encryption = md5; ALTER ROLE app PASSWORD '"+firstPassword+"'"))
	for _, tt := range []struct{ flag, want string }{{"--allow-md5=true", "md5"}, {"--allow-md5=false", "SCR"}, {"--allow-md5=true", "SCR"}} {
		s.must(t, "rotate", s.secret, tt.flag)
		if got := stored(); got != tt.want {
			t.Errorf("%s: the server keeps %s..., want %s", tt.flag, got, tt.want)
		}
		s.works(t, awsstub.Current)
	}
	s.noPassword(t, s.log())
}

// TestRoleSetting rotates users who take on another role when they log in, which may not
// change them.
func TestRoleSetting(t *testing.T) {
	for _, kind := range []string{"postgres 15", "postgres 18"} {
		s := newStand(t, kinds[kind](t))
		must(t, s.exec(t.Context(), "CREATE ROLE shop; GRANT shop TO app, master; ALTER ROLE app SET role = 'shop'; ALTER ROLE master SET role = 'shop'; GRANT shop TO master WITH ADMIN OPTION"))
		for _, s.strategy = range [][]string{{"--strategy", "single"}, {"--strategy", "single", "--master", masterSecret}, {"--strategy", "alternating", "--master", masterSecret}} {
			s.rotate(t)
			s.works(t, awsstub.Current)
		}
	}
}
