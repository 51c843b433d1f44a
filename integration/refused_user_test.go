package integration_test

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// refusedUser is a way in which a server refuses a user whose password is right. In its
// statements {user} is the user, and {db} a database of the case.
type refusedUser struct {
	name   string
	before string // the first login; "" for nothing
	refuse string
	more   string // YAML of the database
}

// names are the first user of a case and the one whose turn is next.
func (c refusedUser) users() (first, second string) { return c.name + "_1", c.name + "_2" }

func (c refusedUser) sql(statement, user string) string {
	return strings.NewReplacer("{user}", user, "{db}", "db_"+c.name).Replace(statement)
}

// TestRefusedUser has PostgreSQL refuse the user that the cached version names, after the
// secret has moved on to another one: the client that is the first to meet that is logged
// in as the other.
func TestRefusedUser(t *testing.T) {
	cases := []refusedUser{
		{name: "login", refuse: "ALTER ROLE {user} NOLOGIN"},
		{name: "connect", refuse: "REVOKE CONNECT ON DATABASE {db} FROM {user}"},
		{name: "sessions", refuse: "ALTER ROLE {user} CONNECTION LIMIT 0"},
		{name: "hba", refuse: "GRANT barred TO {user}"},
		{name: "role", refuse: "REVOKE owner FROM {user}", more: "session: {role: owner}"},
	}
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprintf("server%d", version), func(t *testing.T) {
			pg := servers.RunPostgres(t, servers.PostgresOptions{Version: version, HBA: []string{"hostssl all +barred all reject"}})
			exec := func(sql string) {
				t.Helper()
				if err := pg.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			exec("CREATE ROLE barred")
			exec("CREATE ROLE owner")
			aws, config := startAWS(t, awsstub.Options{}), "databases:\n"
			for _, c := range cases {
				first, second := c.users()
				exec(c.sql("CREATE DATABASE {db}", ""))
				exec(c.sql("REVOKE CONNECT ON DATABASE {db} FROM PUBLIC", ""))
				for _, user := range []string{first, second} {
					if err := pg.CreateRole(t.Context(), user, appPassword); err != nil {
						t.Fatal(err)
					}
					exec(c.sql("GRANT CONNECT ON DATABASE {db} TO {user}", user))
					exec(c.sql("GRANT owner TO {user}", user))
				}
				more := []string{"database: " + c.sql("{db}", ""), "tls: " + tlsYAML("", pg.CAFile)}
				if c.more != "" {
					more = append(more, c.more)
				}
				config += smDatabase(c.name, aws.CreateSecret("prod/"+c.name, secretJSON(pg, first, appPassword)), more...)
			}
			proxy := sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: aws.Env(), Debug: true}, appPassword)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					first, second := c.users()
					login := func() (user string, err error) {
						conn, err := pgx.Connect(t.Context(), "postgres://anybody@"+proxy.Addr(t, c.name)+"/"+c.sql("{db}", "")+"?sslmode=disable")
						if err != nil {
							return "", err
						}
						defer conn.Close(context.Background())
						err = conn.QueryRow(t.Context(), "SELECT session_user::text").Scan(&user)
						return user, err
					}
					if user, err := login(); err != nil || user != first {
						t.Fatalf("at first: %s, %v", user, err)
					}
					exec(c.sql(c.refuse, first))
					aws.PutSecret("prod/"+c.name, secretJSON(pg, second, appPassword))
					if user, err := login(); err != nil || user != second {
						t.Errorf("after %s: user %q, %v", c.sql(c.refuse, first), user, err)
					}
				})
			}
		})
	}
}

// TestMySQLRefusedUser is TestRefusedUser for MySQL and MariaDB.
func TestMySQLRefusedUser(t *testing.T) {
	cases := []refusedUser{
		{name: "locked", refuse: "ALTER USER {user} ACCOUNT LOCK"},
		{name: "rights", refuse: "REVOKE ALL ON app.* FROM {user}"},
		// The first session stays; only those under a limit are counted.
		{name: "sessions", before: "ALTER USER {user} WITH MAX_USER_CONNECTIONS 9", refuse: "ALTER USER {user} WITH MAX_USER_CONNECTIONS 1"},
		{name: "expired", refuse: "ALTER USER {user} PASSWORD EXPIRE"},
	}
	eachFlavor(t, func(t *testing.T, flavor string) {
		o := servers.MySQLOptions{Flavor: flavor}
		if flavor == "mariadb" { // where an expired password is told once logged in, unless this is set
			o.Settings = map[string]string{"disconnect_on_expired_password": "ON"}
		}
		my := servers.RunMySQL(t, o)
		aws, config := startAWS(t, awsstub.Options{}), "databases:\n"
		for _, c := range cases {
			first, second := c.users()
			for _, user := range []string{first, second} {
				if err := my.CreateUser(t.Context(), user, appPassword, ""); err != nil {
					t.Fatal(err)
				}
			}
			if err := my.Exec(t.Context(), c.sql(cmp.Or(c.before, "DO 0"), first)); err != nil {
				t.Fatal(err)
			}
			arn := aws.CreateSecret("prod/"+c.name, mySQLSecret(my, first, appPassword))
			config += database(c.name, fmt.Sprintf("secrets_manager: {secret_id: %q}", arn), "engine: "+flavor, "tls: "+tlsYAML("", my.CAFile))
		}
		s := &mySQLStand{my: my, aws: aws}
		s.proxy = sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: aws.Env(), Debug: true}, appPassword)
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				first, second := c.users()
				s.addr = s.proxy.Addr(t, c.name)
				if user := text(t, s.conn(t, s.config()), "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)"); user != first {
					t.Fatalf("at first user %s", user)
				}
				if err := my.Exec(t.Context(), c.sql(c.refuse, first)); err != nil {
					t.Fatal(err)
				}
				aws.PutSecret("prod/"+c.name, mySQLSecret(my, second, appPassword))
				if user := text(t, s.conn(t, s.config()), "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)"); user != second {
					t.Errorf("after %s: user %q", c.sql(c.refuse, first), user)
				}
			})
		}
	})
}
