package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/rotator"
	"github.com/credproxy/credproxy/integration/servers"
)

// postgres implements server.
type postgres struct {
	rotator.Postgres
	database string
}

func startPostgres(version int) func(ctx context.Context, name, password string) (server, error) {
	return func(ctx context.Context, name, password string) (server, error) {
		pg, err := servers.StartPostgres(ctx, servers.PostgresOptions{Version: version})
		if err != nil {
			return nil, err
		}
		p := &postgres{rotator.Postgres{Postgres: pg}, name}
		if err := p.fill(ctx, password); err != nil {
			pg.Stop()
			return nil, err
		}
		return p, nil
	}
}

// fill makes users, database and table.
func (p *postgres) fill(ctx context.Context, password string) error {
	for _, user := range users {
		if err := p.CreateRole(ctx, user, password); err != nil {
			return err
		}
	}
	if err := p.Exec(ctx, "CREATE DATABASE "+p.database); err != nil {
		return err
	}
	conn, err := p.owner(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, fmt.Sprintf("CREATE TABLE visit (who text); GRANT INSERT ON visit TO %s, %s", users[0], users[1]))
	return err
}

// owner logs in to the database as the superuser.
func (p *postgres) owner(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=%s sslmode=disable", p.SocketDir, p.Port, p.database))
}

func (p *postgres) Product() string { return fmt.Sprintf("PostgreSQL %d", p.Version) }

func (p *postgres) Secret(user, password string) string {
	return fmt.Sprintf(`{"engine":"postgres","host":"localhost","port":%d,"username":%q,"password":%q,"dbname":%q}`,
		p.Port, user, password, p.database)
}

func (p *postgres) CAFile() string { return p.Postgres.CAFile }

func (p *postgres) Rows(ctx context.Context) (map[string]int64, error) {
	conn, err := p.owner(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT who, count(*) FROM visit GROUP BY who")
	if err != nil {
		return nil, err
	}
	written := map[string]int64{}
	var who string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&who, &n}, func() error {
		written[who] = n
		return nil
	})
	return written, err
}

// Login implements rotator.Database, with the server's own words for an error.
func (p *postgres) Login(ctx context.Context, user, password string) error {
	err := p.Postgres.Login(ctx, user, password)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr
	}
	return err
}

func (p *postgres) Connect(ctx context.Context, addr string) error {
	conn, err := pgx.Connect(ctx, p.conninfo(addr))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.Ping(ctx)
}

// conninfo has no password, and a user whom the server does not know: credproxy
// puts its own in place.
func (p *postgres) conninfo(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf("host=%s port=%s dbname=%s user=me sslmode=disable", host, port, p.database)
}

func (p *postgres) Hello(ctx context.Context, addr string) (command, output string, err error) {
	const sql = "SELECT current_user, ssl, version AS tls, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
	psql, err := p.Program("psql")
	if err != nil {
		return "", "", err
	}
	out, err := program(ctx, psql, "-Xw", p.conninfo(addr), "-c", sql).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("psql: %w\n%s", err, out)
	}
	return fmt.Sprintf("psql -w %q \\\n      -c %q", p.conninfo(addr), sql), string(out), err
}

// firstLines is the beginning of a text, for errors.
func firstLines(text string, n int) string {
	lines := strings.SplitAfterN(text, "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "")
}
