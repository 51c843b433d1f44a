package rotation_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// keptHash is what SHOW CREATE USER and MariaDB's SHOW GRANTS tell of a password.
var keptHash = regexp.MustCompile(`(AS|USING|PASSWORD) (0x[0-9A-F]+|'(\\.|''|[^'])*')`)

// rightsOfAll is what each account of the user is and may do, but for its name and password.
func (s *stand) rightsOfAll(t *testing.T, user string) string {
	t.Helper()
	hosts, err := s.query(t.Context(), "SELECT Host FROM mysql.user WHERE User = '"+user+"' ORDER BY 1")
	must(t, err)
	var all []string
	for host := range strings.SplitSeq(hosts, "\n") {
		name := fmt.Sprintf("'%s'@'%s'", user, host)
		asked := []string{"SHOW GRANTS FOR " + name, "SHOW CREATE USER " + name}
		if s.name == "mysql" {
			asked = append(asked, fmt.Sprintf("SELECT DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST FROM mysql.default_roles WHERE USER = '%s' AND HOST = '%s'", user, host))
		}
		var lines []string
		for _, sql := range asked {
			text, err := s.query(t.Context(), sql)
			must(t, err)
			lines = append(lines, strings.Split(text, "\n")...)
		}
		slices.Sort(lines)
		all = append(all, lines...)
	}
	text := strings.ReplaceAll(strings.Join(all, "\n"), "`"+user+"`@", "it@")
	return keptHash.ReplaceAllString(text, "$1 …")
}

// changesOfRights are what happens to the user between rotations.
var changesOfRights = map[string][]string{
	"mysql": {
		`ALTER USER %[1]s REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 50000 PASSWORD EXPIRE INTERVAL 90 DAY PASSWORD HISTORY 3 FAILED_LOGIN_ATTEMPTS 9 PASSWORD_LOCK_TIME UNBOUNDED COMMENT 'it''s "mine"';
		 CREATE USER %[1]s@'10.%%' IDENTIFIED WITH sha256_password BY 'x' REQUIRE SUBJECT '/CN=a' ACCOUNT LOCK; GRANT SELECT ON app.* TO %[1]s@'10.%%';
		 GRANT reader TO %[1]s; GRANT writer@localhost TO %[1]s WITH ADMIN OPTION; ALTER USER %[1]s DEFAULT ROLE reader`,
		`GRANT SELECT, INSERT ON *.* TO %[1]s WITH GRANT OPTION; REVOKE INSERT ON app.* FROM %[1]s; GRANT SELECT (id), UPDATE (id, name) ON app.orders TO %[1]s; GRANT EXECUTE ON PROCEDURE app.place TO %[1]s WITH GRANT OPTION`,
		"REVOKE INSERT ON *.* FROM %[1]s; GRANT DELETE ON `odd``\\_name`.* TO %[1]s; REVOKE UPDATE (name) ON app.orders FROM %[1]s; ALTER USER %[1]s DEFAULT ROLE writer@localhost; ALTER USER %[1]s ATTRIBUTE '{\"comment\": null, \"team\": {\"of\": [1, 2]}}'; ALTER USER %[1]s@'10.%%' ACCOUNT UNLOCK",
		`REVOKE reader FROM %[1]s; GRANT writer@localhost TO %[1]s; GRANT SELECT ON app.orders TO %[1]s; DROP USER %[1]s@'10.%%'; ALTER USER %[1]s REQUIRE NONE PASSWORD EXPIRE NEVER`,
		`REVOKE SELECT ON app.orders FROM %[1]s; GRANT SELECT (name) ON app.orders TO %[1]s; REVOKE GRANT OPTION ON *.* FROM %[1]s; REVOKE CREATE, DROP ON app.* FROM %[1]s`,
		`REVOKE ALL, GRANT OPTION FROM %[1]s; REVOKE writer@localhost FROM %[1]s`,
		`GRANT ALL ON app.* TO %[1]s`,
	},
	"mariadb": {
		`ALTER USER %[1]s REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 50000 MAX_STATEMENT_TIME 2.5 PASSWORD EXPIRE INTERVAL 90 DAY;
		 CREATE USER %[1]s@'10.%%' IDENTIFIED VIA ed25519 USING PASSWORD('x') OR unix_socket REQUIRE SUBJECT '/CN=a' ACCOUNT LOCK; GRANT SELECT ON app.* TO %[1]s@'10.%%';
		 GRANT reader TO %[1]s; GRANT writer TO %[1]s WITH ADMIN OPTION; SET DEFAULT ROLE reader FOR %[1]s`,
		`GRANT SELECT, INSERT ON *.* TO %[1]s WITH GRANT OPTION; REVOKE INSERT ON app.* FROM %[1]s; GRANT SELECT (id), UPDATE (id, name) ON app.orders TO %[1]s; GRANT EXECUTE ON PROCEDURE app.place TO %[1]s WITH GRANT OPTION`,
		"REVOKE INSERT ON *.* FROM %[1]s; GRANT DELETE ON `odd``\\_name`.* TO %[1]s; REVOKE UPDATE (name) ON app.orders FROM %[1]s; SET DEFAULT ROLE writer FOR %[1]s; ALTER USER %[1]s@'10.%%' ACCOUNT UNLOCK",
		`REVOKE reader FROM %[1]s; REVOKE ADMIN OPTION FOR writer FROM %[1]s; GRANT SELECT ON app.orders TO %[1]s; DROP USER %[1]s@'10.%%'; ALTER USER %[1]s REQUIRE NONE PASSWORD EXPIRE NEVER`,
		`REVOKE SELECT ON app.orders FROM %[1]s; GRANT SELECT (name) ON app.orders TO %[1]s; REVOKE GRANT OPTION ON *.* FROM %[1]s; REVOKE CREATE, DROP ON app.* FROM %[1]s; SET DEFAULT ROLE NONE FOR %[1]s`,
		`REVOKE ALL, GRANT OPTION FROM %[1]s`,
		`GRANT ALL ON app.* TO %[1]s`,
	},
}

// TestRightsMySQL changes what the current user may do between rotations, and holds that the
// other one is made like it each time, whichever it is, at each host.
func TestRightsMySQL(t *testing.T) {
	for kind, changes := range changesOfRights {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, kinds[kind](t))
			s.strategy = []string{"--strategy", "alternating", "--master", masterSecret}
			roles := "CREATE ROLE reader; CREATE ROLE writer@localhost; SET GLOBAL partial_revokes = ON"
			if kind == "mariadb" {
				roles = "CREATE ROLE reader; CREATE ROLE writer; GRANT reader TO master WITH ADMIN OPTION; GRANT writer TO master WITH ADMIN OPTION"
			}
			must(t, s.exec(t.Context(), roles+"; CREATE TABLE app.orders (id int, name text); CREATE PROCEDURE app.place() SELECT 1"))
			must(t, s.exec(t.Context(), "GRANT ALTER ROUTINE, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, EVENT, TRIGGER ON *.* TO master"))
			for i, change := range changes {
				before, _ := s.labelled(awsstub.Current)
				must(t, s.exec(t.Context(), fmt.Sprintf(change, before)))
				want := s.rightsOfAll(t, before)
				s.rotate(t)
				after, _ := s.labelled(awsstub.Current)
				if after == before {
					t.Fatalf("the user is %s, as before", after)
				}
				for _, user := range []string{before, after} {
					if got := s.rightsOfAll(t, user); got != want {
						t.Errorf("after change %d %s has\n%s\nwant\n%s", i, user, got, want)
					}
				}
				s.works(t, awsstub.Current)
				s.works(t, awsstub.Previous)
				// A second look has nothing to do but the password, at each host.
				out := s.must(t, append([]string{"rotate", s.secret, "--dry-run"}, s.strategy...)...)
				if strings.Count(out, "would run") != strings.Count(want, "CREATE USER it@") {
					t.Errorf("after change %d:\n%s", i, out)
				}
			}
			s.noPassword(t, s.log())
		})
	}
}

// TestHosts has a master rotate a user with an account at each of two hosts, and kills the
// function at every point of setSecret. Called again, or for another rotation, it comes to
// both, and the password before works at both.
func TestHosts(t *testing.T) {
	for _, kind := range []string{"mysql", "mariadb"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, kinds[kind](t))
			s.strategy = []string{"--strategy", "single"}
			s.policy = []string{"--master", s.aws.Secret(masterSecret).ARN}
			must(t, s.exec(t.Context(), "RENAME USER app TO app@'127.0.0.1'; CREATE USER app@'192.0.2.1' IDENTIFIED BY '"+firstPassword+"'"))
			change := func() { // who is where
				t.Helper()
				must(t, s.exec(t.Context(), "RENAME USER app@'127.0.0.1' TO app@'192.0.2.2'; RENAME USER app@'192.0.2.1' TO app@'127.0.0.1'; RENAME USER app@'192.0.2.2' TO app@'192.0.2.1'"))
			}
			f := s.lambda(t, "MASTER_SECRET="+masterSecret)
			k := &killer{kill: f.Kill}
			k.watch(t, s, functionKey)
			both := func(at, version string) {
				t.Helper()
				for range 2 {
					s.settled(t, version)
					s.works(t, awsstub.Previous)
					change()
				}
				if t.Failed() {
					t.Fatalf("killed %s", at)
				}
			}
			for point := 1; ; point++ {
				var at string
				tries := []bool{point%2 == 0} // before a statement, and after the one before it
				if soak() {
					tries = []bool{false, true}
				}
				for _, anew := range tries {
					r := s.aws.StartRotation(s.secret)
					must(t, invoker(f)(t.Context(), r.Event(r.Steps[0])))
					k.arm(point)
					err := invoker(f)(t.Context(), r.Event(r.Steps[1]))
					if at = k.disarm(); at == "" {
						must(t, err)
					}
					if anew {
						r = s.aws.StartRotation(s.secret)
					}
					must(t, r.Run(t.Context(), invoker(f)))
					both(at, r.Token)
				}
				if at == "" {
					t.Logf("killed at %d points", point-1)
					break
				}
			}
			s.noPassword(t, s.log())
		})
	}
}

// TestDiscardByMaster has checks discard the second password of a user who may not do so, and
// whose master does; also where AWSCURRENT's is the second.
func TestDiscardByMaster(t *testing.T) {
	for _, kind := range []string{"mysql", "mariadb"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, kinds[kind](t))
			if kind == "mysql" {
				must(t, s.exec(t.Context(), "REVOKE APPLICATION_PASSWORD_ADMIN ON *.* FROM app"))
			}
			s.strategy = []string{"--strategy", "single"}
			s.policy = []string{"--master", s.aws.Secret(masterSecret).ARN}
			f := s.lambda(t, "MASTER_SECRET="+masterSecret, "DISCARD_AFTER=1ns")
			for _, givenUp := range []bool{false, true} {
				r := s.aws.StartRotation(s.secret)
				gone := awsstub.Previous
				if givenUp {
					gone = awsstub.Pending
					r.Steps = r.Steps[:2]
				}
				must(t, r.Run(t.Context(), invoker(f)))
				s.works(t, gone)
				user, password := s.labelled(gone)
				if givenUp {
					s.aws.Edit(s.secret, func(sec *awsstub.Secret) { sec.Stage(awsstub.Pending).Stages = nil })
				}
				for range 2 {
					_, err := f.Invoke(t.Context(), map[string]string{"Action": "check", "SecretId": s.secret})
					must(t, err)
					s.works(t, awsstub.Current)
					if err := s.login(t.Context(), user, password); err == nil {
						t.Errorf("the other password logs in still (given up: %v)", givenUp)
					}
				}
			}
			s.noPassword(t, s.log())
		})
	}
}
