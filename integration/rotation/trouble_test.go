package rotation_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
)

// accounts is what the server keeps of its users, passwords included.
func (s *stand) accounts(t *testing.T) string {
	t.Helper()
	sql := "SELECT * FROM pg_authid ORDER BY oid"
	if s.name != "postgres" {
		sql = "SELECT User, Host, plugin, authentication_string FROM mysql.user ORDER BY 1, 2"
	}
	text, err := s.query(t.Context(), sql)
	must(t, err)
	return text
}

// edit replaces the first occurrence of old in the secret's current document.
func (s *stand) edit(t *testing.T, secret, old, new string) {
	t.Helper()
	text := *s.aws.Secret(secret).Stage(awsstub.Current).Text
	if !strings.Contains(text, old) {
		t.Fatalf("the document of %s does not hold %s", secret, old)
	}
	s.aws.PutSecret(secret, strings.Replace(text, old, new, 1))
}

// TestTrouble has something be in the way: the error says what and what to do about it,
// also of a dry run, and neither the database nor AWSCURRENT has changed.
func TestTrouble(t *testing.T) {
	other := caFile(t)
	shared := []*engine{kinds["postgres 18"](t), kinds["mysql"](t)}
	for name, tt := range map[string]trouble{
		"no engine": {nil, func(t *testing.T, s *stand) { s.edit(t, s.secret, `"engine"`, `"motor"`) }, nil, []string{"has no engine", "add it to the JSON"}},
		"no host":   {nil, func(t *testing.T, s *stand) { s.edit(t, s.secret, `"host"`, `"guest"`) }, nil, []string{"has no host"}},
		"no password": {nil, func(t *testing.T, s *stand) { s.edit(t, s.secret, `"password"`, `"word"`) }, nil,
			[]string{"password is missing"}},
		"no JSON":          {nil, func(t *testing.T, s *stand) { s.aws.PutSecret(s.secret, "hunter2") }, nil, []string{"not valid JSON"}},
		"no master":        {nil, nil, []string{"--strategy", "alternating"}, []string{"need a master's secret", "masterarn", "--master"}},
		"a missing master": {nil, nil, []string{"--master", "prod/none"}, []string{"prod/none", "check its name and region"}},
		"wrong current and previous": {nil, func(t *testing.T, s *stand) {
			s.edit(t, s.secret, firstPassword, "planted-wrong")
			s.edit(t, s.secret, "planted-wrong", "planted-worse")
		}, nil, []string{"login as AWSCURRENT (user app", "login as AWSPREVIOUS (user app", "takes none of the secret's passwords"}},
		"wrong current of two": {nil, func(t *testing.T, s *stand) { s.edit(t, s.secret, firstPassword, "planted-wrong") }, []string{"--master", masterSecret},
			[]string{"login as AWSCURRENT (user app"}},
		"wrong master": {nil, func(t *testing.T, s *stand) { s.edit(t, masterSecret, masterPassword, "planted-wrong") }, []string{"--master", masterSecret},
			[]string{"the master's secret prod/master", "login as the master (user master"}},
		"a master elsewhere": {nil, func(t *testing.T, s *stand) {
			host, _, _ := strings.Cut(s.addr(), ":")
			s.edit(t, masterSecret, host, "elsewhere.invalid")
		}, []string{"--master", masterSecret}, []string{"it leads to elsewhere.invalid"}},
		"a master of another engine": {nil, func(t *testing.T, s *stand) { s.edit(t, masterSecret, `"engine":"`, `"engine":"mariadb", "motor":"`) }, []string{"--master", masterSecret},
			[]string{"it is for mariadb, the secret for"}},
		"unknown strategy":   {nil, nil, []string{"--strategy", "both"}, []string{"write single or alternating"}},
		"too long a name":    {nil, func(t *testing.T, s *stand) { s.edit(t, s.secret, `"app"`, `"`+strings.Repeat("a", 80)+`"`) }, []string{"--master", masterSecret}, []string{"take a shorter name"}},
		"untrusted server":   {nil, nil, []string{"--tls-ca-file", other}, []string{"certificate"}},
		"another name":       {nil, nil, []string{"--tls-server-name", "db.example"}, []string{"db.example"}},
		"password too short": {nil, nil, []string{"--password-length", "4"}, []string{"PASSWORD_LENGTH", "8 to 256"}},

		"a master who may make no roles": {[]string{"postgres 15", "postgres 18"}, func(t *testing.T, s *stand) {
			must(t, s.exec(t.Context(), "ALTER ROLE master NOCREATEROLE"))
		}, []string{"--master", masterSecret}, []string{"master may not change other roles", "CREATEROLE"}},
		"a master that is the other user": {[]string{"postgres 15", "mysql", "mariadb"}, func(t *testing.T, s *stand) {
			s.edit(t, s.secret, `"app"`, `"master_clone"`)
			if s.name == "postgres" {
				must(t, s.exec(t.Context(), "ALTER ROLE app RENAME TO master_clone"))
			} else {
				must(t, s.exec(t.Context(), "RENAME USER app TO master_clone"))
			}
		}, []string{"--master", masterSecret}, []string{"it is for master, the user that takes turns with master_clone"}},
		"a role that replicates": {[]string{"postgres 15", "postgres 18"}, func(t *testing.T, s *stand) {
			must(t, s.exec(t.Context(), "ALTER ROLE app REPLICATION"))
		}, []string{"--master", masterSecret}, []string{"app has REPLICATION, which master may not give to app_clone"}},
		"a superuser's role": {[]string{"postgres 15", "postgres 18"}, func(t *testing.T, s *stand) {
			must(t, s.exec(t.Context(), "ALTER ROLE app SUPERUSER"))
		}, []string{"--master", masterSecret, "--strategy", "single"}, []string{"app has SUPERUSER, and master is no superuser"}},
		"attributes that the master lacks": {[]string{"postgres 18"}, func(t *testing.T, s *stand) {
			must(t, s.exec(t.Context(), "ALTER ROLE app CREATEDB; ALTER ROLE master NOCREATEDB"))
		}, []string{"--master", masterSecret}, []string{"app has CREATEDB, which master may not give to app_clone", `ALTER ROLE "master" CREATEDB`}},
		"no ADMIN OPTION": {[]string{"postgres 18"}, func(t *testing.T, s *stand) {
			must(t, s.exec(t.Context(), "REVOKE app FROM master"))
		}, []string{"--master", masterSecret}, []string{"it has no ADMIN OPTION on app", "WITH ADMIN OPTION"}},
		"passwords are restricted": {[]string{"postgres 15", "postgres 18"}, func(t *testing.T, s *stand) {
			must(t, s.exec(t.Context(), "CREATE ROLE rds_password; ALTER ROLE app SET rds.restrict_password_commands = 'on'"))
		}, nil, []string{"rds.restrict_password_commands is on", "rds_password"}},
		"an expired role": {[]string{"postgres 15", "postgres 18"}, func(t *testing.T, s *stand) {
			must(t, s.exec(t.Context(), "ALTER ROLE app VALID UNTIL '2001-01-01'"))
		}, nil, []string{"login as AWSCURRENT (user app", "expired"}},
		"a role that may not log in": {[]string{"postgres 15", "postgres 18"}, func(t *testing.T, s *stand) {
			must(t, s.exec(t.Context(), "ALTER ROLE app NOLOGIN"))
		}, nil, []string{"is not permitted to log in"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range tt.kinds {
				s := newStand(t, kinds[kind](t))
				tt.try(t, s)
			}
			for _, e := range shared {
				if tt.kinds == nil {
					tt.try(t, newStand(t, e))
				}
			}
		})
	}
}

// trouble is one thing that is in the way.
type trouble struct {
	kinds   []string // of servers of its own, which it changes; nil: those that all share
	prepare func(t *testing.T, s *stand)
	flags   []string
	said    []string
}

func (tt trouble) try(t *testing.T, s *stand) {
	t.Helper()
	if tt.prepare != nil {
		tt.prepare(t, s)
	}
	accounts, version := s.accounts(t), s.aws.Secret(s.secret).Stage(awsstub.Current).ID
	for _, dry := range []string{"--dry-run=true", "--dry-run=false"} {
		out, err := s.run(t, append([]string{"rotate", s.secret, dry}, tt.flags...)...)
		if err == nil {
			t.Errorf("%s: %s: no error\n%s", s.name, dry, out)
		}
		for _, want := range tt.said {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %s: it does not say %q:\n%s", s.name, dry, want, out)
			}
		}
	}
	if s.accounts(t) != accounts {
		t.Errorf("%s: the accounts have changed", s.name)
	}
	if s.aws.Secret(s.secret).Stage(awsstub.Current).ID != version {
		t.Errorf("%s: AWSCURRENT has moved", s.name)
	}
}

// caFile is an authority that has certified nobody here.
func caFile(t *testing.T) string {
	t.Helper()
	ca, err := pki.NewCA("elsewhere")
	must(t, err)
	path := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(path, ca.PEM, 0o600))
	return path
}

// TestReplica has the secret lead to a standby, which takes no changes.
func TestReplica(t *testing.T) {
	s := newStand(t, kinds["postgres 18"](t))
	standby := servers.RunPostgres(t, servers.PostgresOptions{Version: 18, StandbyOf: s.postgres})
	_, port, _ := net.SplitHostPort(s.addr())
	s.edit(t, s.secret, `"port":`+port, fmt.Sprintf(`"port":%d`, standby.Port))
	accounts := s.accounts(t)
	for _, dry := range []string{"--dry-run=true", "--dry-run=false"} {
		out, err := s.run(t, "rotate", s.secret, dry, "--tls-ca-file", standby.CAFile)
		if err == nil || !strings.Contains(out, "the server is a replica") || !strings.Contains(out, "the writer's endpoint") {
			t.Errorf("%s: %v\n%s", dry, err, out)
		}
	}
	if s.accounts(t) != accounts {
		t.Error("the accounts have changed")
	}
}
