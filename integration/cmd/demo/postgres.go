package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/servers"
)

// postgres implements server.
type postgres struct {
	*servers.Postgres
	database string
}

func startPostgres(version int) func(ctx context.Context, name string, with passwords) (server, error) {
	return func(ctx context.Context, name string, with passwords) (server, error) {
		pg, err := servers.StartPostgres(ctx, servers.PostgresOptions{Version: version})
		if err != nil {
			return nil, err
		}
		p := &postgres{pg, name}
		if err := p.fill(ctx, with); err != nil {
			pg.Stop()
			return nil, err
		}
		return p, nil
	}
}

// fill makes the first user, the master, database and table.
func (p *postgres) fill(ctx context.Context, with passwords) error {
	if err := p.CreateRole(ctx, users[0], with.first); err != nil {
		return err
	}
	if with.master != "" {
		if err := p.CreateRole(ctx, master, with.master, "CREATEROLE"); err != nil {
			return err
		}
		if err := p.Exec(ctx, fmt.Sprintf("GRANT %s TO %s WITH ADMIN OPTION", users[0], master)); err != nil { // PostgreSQL 16 wants it
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
	_, err = conn.Exec(ctx, "CREATE TABLE visit (who text); GRANT INSERT ON visit TO "+users[0])
	return err
}

// owner logs in to the database as the superuser.
func (p *postgres) owner(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=%s sslmode=disable", p.SocketDir, p.Port, p.database))
}

func (p *postgres) Product() string { return fmt.Sprintf("PostgreSQL %d", p.Version) }

func (p *postgres) Secret(user, password, masterARN string) string {
	return document{"postgres", "localhost", p.Port, user, password, p.database, masterARN}.String()
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

func (p *postgres) HasUser(ctx context.Context, user string) (has bool, err error) {
	conn, err := p.Superuser(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_roles WHERE rolname = $1", user).Scan(&has)
	return has, err
}

func (p *postgres) Login(ctx context.Context, user, password string) error {
	conn, err := pgx.Connect(ctx, p.URL(user, password, p.database))
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr
	}
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.Ping(ctx)
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
