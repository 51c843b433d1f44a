package rotation_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
)

// engine is one kind of real server.
type engine struct {
	name   string // as in secrets
	addr   func() string
	caFile string
	// exec runs statements as the superuser, and query one that returns rows, as lines of
	// fields with a space between.
	exec  func(ctx context.Context, sql string) error
	query func(ctx context.Context, sql string) (string, error)
	// ask logs in directly and runs a statement.
	ask func(ctx context.Context, user, password, sql string) error
	// through logs in through a credproxy.
	through func(ctx context.Context, addr string) error
	log     func() string // all of it, with every statement
	// What the server shows clients, and who has issued it.
	certificate *pki.Certificate
	ca          *pki.CA

	postgres *servers.Postgres // nil: it is none
}

// whole returns what reads all of a log.
func whole(t *testing.T, read func() (string, error)) func() string {
	return func() string {
		t.Helper()
		text, err := read()
		must(t, err)
		return text
	}
}

// login logs in directly.
func (e *engine) login(ctx context.Context, user, password string) error {
	return e.ask(ctx, user, password, "SELECT 1")
}

// kinds are the servers that rotations are tried on.
var kinds = map[string]func(t *testing.T) *engine{
	"postgres 15": func(t *testing.T) *engine { return postgres(t, servers.PostgresOptions{Version: 15}) },
	"postgres 18": func(t *testing.T) *engine { return postgres(t, servers.PostgresOptions{Version: 18}) },
	"mysql":       func(t *testing.T) *engine { return mysql(t, servers.MySQLOptions{Flavor: "mysql"}) },
	"mariadb":     func(t *testing.T) *engine { return mysql(t, servers.MySQLOptions{Flavor: "mariadb"}) },
}

// eachKind runs f on every kind of server, for both strategies.
func eachKind(t *testing.T, f func(t *testing.T, s *stand)) {
	for kind, start := range kinds {
		for _, strategy := range []string{"single", "alternating"} {
			t.Run(kind+" "+strategy, func(t *testing.T) {
				t.Parallel()
				s := newStand(t, start(t))
				if s.strategy = []string{"--strategy", strategy}; strategy == "alternating" {
					s.strategy = append(s.strategy, "--master", masterSecret)
				}
				f(t, s)
			})
		}
	}
}

func (s *stand) alternates() bool { return s.strategy[1] == "alternating" }

// postgres starts a server with the role app, and master, who may make roles.
func postgres(t *testing.T, o servers.PostgresOptions) *engine {
	t.Helper()
	o.LogStatements = true
	pg := servers.RunPostgres(t, o)
	ctx := t.Context()
	must(t, pg.CreateRole(ctx, "app", firstPassword))
	must(t, pg.CreateRole(ctx, "master", masterPassword, "CREATEROLE", "CREATEDB"))
	if o.Version >= 16 {
		must(t, pg.Exec(ctx, "GRANT app TO master WITH ADMIN OPTION"))
	}
	e := &engine{name: "postgres", addr: pg.Addr, caFile: pg.CAFile, exec: pg.Exec, log: whole(t, pg.LogAll), through: throughPostgres, certificate: pg.Certificate, ca: pg.CA, postgres: pg}
	e.query = func(ctx context.Context, sql string) (string, error) {
		conn, err := pg.Superuser(ctx)
		if err != nil {
			return "", err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		rows, err := conn.Query(ctx, sql)
		if err != nil {
			return "", err
		}
		defer rows.Close()
		var lines []string
		for rows.Next() {
			values, err := rows.Values()
			if err != nil {
				return "", err
			}
			lines = append(lines, strings.TrimSuffix(fmt.Sprintln(values...), "\n"))
		}
		return strings.Join(lines, "\n"), rows.Err()
	}
	e.ask = func(ctx context.Context, user, password, sql string) error {
		return askPostgres(ctx, pg.URL(user, password, "postgres"), sql)
	}
	return e
}

// mysql starts a server with the user app, who may keep its old password, and master, who
// may what the master of RDS may.
func mysql(t *testing.T, o servers.MySQLOptions) *engine {
	t.Helper()
	o.LogStatements = true
	my := servers.RunMySQL(t, o)
	ctx := t.Context()
	must(t, my.CreateUser(ctx, "app", firstPassword, ""))
	must(t, my.CreateUser(ctx, "master", masterPassword, ""))
	must(t, my.Exec(ctx, "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, CREATE USER, RELOAD, PROCESS, EXECUTE ON *.* TO master WITH GRANT OPTION; GRANT ALL ON app.* TO master WITH GRANT OPTION"))
	if o.Flavor == "mysql" {
		must(t, my.Exec(ctx, "GRANT ROLE_ADMIN, APPLICATION_PASSWORD_ADMIN ON *.* TO master WITH GRANT OPTION; GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO app"))
	}
	e := &engine{name: o.Flavor, addr: my.Addr, caFile: my.CAFile, exec: my.Exec, log: whole(t, my.LogAll), through: throughMySQL, certificate: my.Certificate, ca: my.CA}
	e.query = func(ctx context.Context, sql string) (string, error) {
		root, err := my.Superuser()
		if err != nil {
			return "", err
		}
		defer root.Close()
		rows, err := root.QueryContext(ctx, sql)
		if err != nil {
			return "", err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return "", err
		}
		var lines []string
		for rows.Next() {
			values, into := make([]string, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				return "", err
			}
			lines = append(lines, strings.Join(values, " "))
		}
		return strings.Join(lines, "\n"), rows.Err()
	}
	e.ask = func(ctx context.Context, user, password, sql string) error {
		return askMySQL(ctx, my.Config(user, password, ""), sql)
	}
	return e
}
