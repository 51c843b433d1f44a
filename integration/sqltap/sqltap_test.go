package sqltap_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sqltap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "a'b"

// recorder notes points, and cuts at the one with number at.
type recorder struct {
	mu   sync.Mutex
	seen []string
	at   int
	hook func(sqltap.Point)
}

func (r *recorder) point(p sqltap.Point) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hook != nil {
		r.hook(p)
	}
	r.seen = append(r.seen, p.String())
	return len(r.seen) == r.at
}

// from begins again, to cut at the point of that number; 0: none.
func (r *recorder) from(at int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen, r.at = nil, at
}

func (r *recorder) points() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

func start(t *testing.T, engine, server string, cert *pki.Certificate, ca *pki.CA, r *recorder) *sqltap.Tap {
	t.Helper()
	tap, err := sqltap.Start(sqltap.Options{Engine: engine, Server: server, Certificate: cert, CA: ca, OnPoint: r.point})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tap.Close)
	return tap
}

// stand is a server with a user app and a table t, seen through a tap.
type stand struct {
	tap      *sqltap.Tap
	recorder *recorder
	run      func(ctx context.Context, password string, statements ...string) error // in one session, closed at its end
	count    func() int                                                             // rows of t, not through the tap
}

func stands(t *testing.T, check func(*testing.T, stand)) {
	t.Run("postgres", func(t *testing.T) { check(t, postgresStand(t)) })
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) { check(t, mysqlStand(t, flavor)) })
	}
}

func postgresStand(t *testing.T) stand {
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18, LogStatements: true})
	if err := pg.Exec(t.Context(), "CREATE ROLE app LOGIN PASSWORD 'a''b'; CREATE TABLE t (n int); GRANT ALL ON t TO app"); err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	s := stand{tap: start(t, "postgres", pg.Addr(), pg.Certificate, pg.CA, r), recorder: r}
	s.run = func(ctx context.Context, password string, statements ...string) error {
		u, _ := url.Parse(pg.URL("app", password, "postgres"))
		u.Host = s.tap.Addr()
		conn, err := pgx.Connect(ctx, u.String()+"&channel_binding=require")
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		for _, statement := range statements {
			if _, err := conn.PgConn().Exec(ctx, statement).ReadAll(); err != nil {
				return err
			}
		}
		return nil
	}
	s.count = func() (n int) {
		root, err := pg.Superuser(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close(t.Context())
		if err := root.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	return s
}

func mysqlStand(t *testing.T, flavor string) stand {
	my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})
	if err := errors.Join(my.CreateUser(t.Context(), "app", password, ""), my.Exec(t.Context(), "CREATE TABLE app.t (n int)")); err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	s := stand{tap: start(t, "mysql", my.Addr(), my.Certificate, my.CA, r), recorder: r}
	s.run = func(ctx context.Context, password string, statements ...string) error {
		config := my.Config("app", password, "app")
		config.Addr = s.tap.Addr()
		connector, err := mysql.NewConnector(config)
		if err != nil {
			return err
		}
		db := sql.OpenDB(connector)
		defer db.Close()
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		for _, statement := range statements {
			rows, err := conn.QueryContext(ctx, statement)
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				return err
			}
		}
		return nil
	}
	s.count = func() (n int) {
		root, err := my.Superuser()
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := root.QueryRowContext(t.Context(), "SELECT count(*) FROM app.t").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	return s
}

func around(whats ...string) (points []string) {
	for _, what := range whats {
		points = append(points, "before "+what, "after "+what)
	}
	return points
}

func TestPoints(t *testing.T) {
	stands(t, func(t *testing.T, s stand) {
		ctx := t.Context()
		const login, insert, wrong, selects = "login of app", "INSERT INTO t VALUES (1)", "SELECT nothing", "SELECT n, n + 1 FROM t"
		long := "SELECT '" + strings.Repeat("x", 300_000) + "'"
		if err := s.run(ctx, password, insert, insert, selects, long); err != nil {
			t.Fatal(err)
		}
		if got, want := s.recorder.points(), around(login, insert, insert, selects, long); !slices.Equal(got, want) {
			t.Errorf("points %.200q", got)
		}
		s.recorder.from(0)
		if err := s.run(ctx, password, wrong, insert); err == nil || !strings.Contains(err.Error(), "nothing") {
			t.Errorf("error %v", err)
		}
		if err := s.run(ctx, "wrong"); err == nil {
			t.Error("logged in with a wrong password")
		}
		if got, want := s.recorder.points(), around(login, wrong, login); !slices.Equal(got, want) {
			t.Errorf("points %q", got)
		}
		if n, all := s.tap.Logins(), s.tap.Statements(); n != 3 || !slices.Equal(all, []string{insert, insert, selects, long, wrong}) {
			t.Errorf("%d logins, statements %.200q", n, all)
		}

		// At the point after, the server is done, and at the one before it has not begun.
		seen := make(map[bool]int)
		s.recorder.hook = func(p sqltap.Point) {
			if p.SQL != "" {
				seen[p.After] = s.count()
			}
		}
		if err := s.run(ctx, password, insert); err != nil {
			t.Error(err)
		}
		if seen[false] != 2 || seen[true] != 3 {
			t.Errorf("rows by point: %v", seen)
		}
	})
}

func TestCuts(t *testing.T) {
	stands(t, func(t *testing.T, s stand) {
		const insert = "INSERT INTO t VALUES (1)"
		for at, rows := range map[int]int{1: 0, 2: 0, 3: 0, 4: 1} {
			before := s.count()
			s.recorder.from(at)
			if err := s.run(t.Context(), password, insert); err == nil {
				t.Errorf("cut at %d: no error", at)
			}
			if n := len(s.recorder.points()); n < at {
				t.Errorf("cut at %d: %d points", at, n)
			}
			if n := s.count() - before; n != rows {
				t.Errorf("cut at %d: %d rows, want %d", at, n, rows)
			}
		}
		s.recorder.from(0)
		if err := s.run(t.Context(), password, insert); err != nil {
			t.Error(err)
		}
	})
}

func TestManyResults(t *testing.T) {
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) {
			s := mysqlStand(t, flavor)
			statements := []string{"SELECT 1 FROM t", "SELECT NULL, 2", "SHOW WARNINGS"}
			for n := range 300 { // columns beyond what one byte can tell
				statements[1] += fmt.Sprint(", ", n)
			}
			if err := s.run(t.Context(), password, statements...); err != nil {
				t.Fatal(err)
			}
			if got := s.tap.Statements(); !slices.Equal(got, statements) {
				t.Errorf("statements %.200q", got)
			}
		})
	}
}

// The servers' own clients do without the EOF packets, and MySQL's sends attributes.
func TestPrograms(t *testing.T) {
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) {
			my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})
			if err := errors.Join(my.CreateUser(t.Context(), "app", password, ""), my.Exec(t.Context(), "CREATE TABLE app.t (n int); CREATE PROCEDURE app.p() BEGIN SELECT 1; SELECT 2; END")); err != nil {
				t.Fatal(err)
			}
			r := &recorder{}
			tap := start(t, "mysql", my.Addr(), my.Certificate, my.CA, r)
			through := *my
			through.Port = tap.Port()
			program, err := my.Program(flavor)
			if err != nil {
				t.Fatal(err)
			}
			statements := []string{"INSERT INTO t VALUES (1), (2)", "SELECT n FROM t", "CALL p()", "SELECT n FROM t WHERE n > 2", "DELETE FROM t"}
			args := append(through.Flags("app", password), "--batch", "--skip-column-names", "--database=app", "--execute="+strings.Join(statements, ";"))
			out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
			if err != nil || !strings.HasSuffix(string(out), "1\n2\n1\n2\n") {
				t.Errorf("%v: %s", err, out)
			}
			var points []string
			for _, p := range r.points() {
				if !strings.Contains(p, "@@") && !strings.Contains(p, "$$") { // what the programs ask for themselves
					points = append(points, p)
				}
			}
			if want := around(append([]string{"login of app"}, statements...)...); !slices.Equal(points, want) {
				t.Errorf("points %q, want %q", points, want)
			}
		})
	}
}

// Clients that do not want TLS do not get through.
func TestTLSOnly(t *testing.T) {
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18})
	tap := start(t, "postgres", pg.Addr(), pg.Certificate, pg.CA, &recorder{})
	if _, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://app:x@%s/postgres?sslmode=disable", tap.Addr())); err == nil {
		t.Error("logged in")
	}
	conn, err := net.Dial("tcp", tap.Addr()) // stays where it is until the tap closes
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tap.Close()
	tap.Close()
	if n := tap.Logins(); n != 0 {
		t.Errorf("%d logins", n)
	}
	if _, err := sqltap.Start(sqltap.Options{Engine: "oracle"}); err == nil {
		t.Error("started for an unknown engine")
	}
}
