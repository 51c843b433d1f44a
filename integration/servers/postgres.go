package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/pki"
)

// PostgresOptions says what kind of PostgreSQL to start. Only Version is needed:
// TLS with a certificate for localhost, and logins by SCRAM-SHA-256 over TLS only.
type PostgresOptions struct {
	Version     int              // 15 or 18
	Host        string           // the address of loopback to listen on; default: 127.0.0.1
	Port        int              // default: a free one
	Certificate *pki.Certificate // default: one for localhost and Host from an authority of its own
	CA          *pki.CA          // who issued Certificate; alone: who issues the default one
	ClientCA    *pki.CA          // if set, clients must show a certificate of this authority
	NoTLS       bool             // ssl=off, and logins in the clear are let in
	StandbyOf   *Postgres        // a hot standby of that server, of the same version; it is streamed to
	Starting    bool             // never gets further than that: it waits for WAL, and nobody may log in

	Auth          string            // pg_hba method of TCP logins: scram-sha-256 (default), md5, password, trust
	IAM           *TokenVerifier    // decides about members of rds_iam; without it there are none
	HBA           []string          // pg_hba.conf lines that come before all others
	LogStatements bool              // write each statement to the log; see LogAll
	Settings      map[string]string // postgresql.conf, e.g. max_connections
}

// Postgres is a running PostgreSQL. It has the superuser postgres, who can log
// in only through the socket, and the database postgres.
type Postgres struct {
	Version     int
	Host        string // an address; the default certificate also names localhost
	Port        int
	SocketDir   string
	CA          *pki.CA          // to be trusted by clients; nil without TLS, or if the options do not name it
	CAFile      string           // the same as a file; "" if CA is nil
	Certificate *pki.Certificate // its own, with the key; nil without TLS

	process *process
}

// PostgresVersions are those that setup.sh installs.
func PostgresVersions() []int { return []int{15, 18} }

// PostgresProgram is the path of a program of that version's distribution: psql,
// pg_dump, pg_basebackup, pg_receivewal, pgbench and so on.
func PostgresProgram(t testing.TB, version int, name string) string {
	t.Helper()
	path, err := postgresProgram(version, name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Program is PostgresProgram of this server's version, for callers without a test.
func (pg *Postgres) Program(name string) (string, error) { return postgresProgram(pg.Version, name) }

func postgresProgram(version int, name string) (string, error) {
	v := strconv.Itoa(version)
	return installed("postgresql-"+v, "usr/lib/postgresql", v, "bin", name)
}

// RunPostgres starts a server that stops at the test's end; its log is shown if
// the test failed.
func RunPostgres(t testing.TB, o PostgresOptions) *Postgres {
	t.Helper()
	pg, err := StartPostgres(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pg.Stop()
		if t.Failed() {
			t.Logf("log of postgresql %d on port %d:\n%s", pg.Version, pg.Port, pg.Log())
		}
	})
	return pg
}

// StartPostgres starts a server and returns when it takes logins. The caller
// must Stop it.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	pg, err := atFreePort(func() (*Postgres, error) { return startPostgres(ctx, o) })
	if err != nil {
		return nil, fmt.Errorf("postgresql %d: %w", o.Version, err)
	}
	return pg, nil
}

func startPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	program, err := postgresProgram(o.Version, "postgres")
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	port, err := portOr(o.Port)
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	dir, err := makeFolder("credproxy-postgres-", as)
	if err != nil {
		return nil, fmt.Errorf("make server folder: %w", err)
	}
	pg := &Postgres{Version: o.Version, Host: hostOr(o.Host), Port: port, SocketDir: dir}
	if err := pg.writeFolder(ctx, as, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	var env []string
	if o.IAM != nil {
		env = append(env, o.IAM.env())
	}
	pg.process, err = start(as, dir, "INT QUIT", env, program, "-D", filepath.Join(dir, "data"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := pg.awaitReady(ctx, o); err != nil {
		pg.Stop()
		return nil, fmt.Errorf("%w\n%s", err, pg.Log())
	}
	return pg, nil
}

// awaitReady returns when the superuser can log in, or hears that the server is starting,
// and, for IAM, the role exists.
func (pg *Postgres) awaitReady(ctx context.Context, o PostgresOptions) error {
	err := pg.process.awaitLogin(ctx, func(ctx context.Context) error {
		conn, err := pg.Superuser(ctx)
		if said, ok := errors.AsType[*pgconn.PgError](err); ok && o.Starting && said.Code == "57P03" {
			return nil
		}
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
	if err != nil {
		return err
	}
	if o.IAM == nil {
		return nil
	}
	return pg.Exec(ctx, "CREATE ROLE rds_iam") // as RDS names it
}

// Stop ends the server as by `pg_ctl stop -m fast` and removes its folder. More
// calls do nothing.
func (pg *Postgres) Stop() { pg.process.stop() }

// Kill ends the server as a crash of its machine does, and removes its folder.
func (pg *Postgres) Kill() error {
	return pg.process.kill(filepath.Join(pg.SocketDir, "data", "postmaster.pid"))
}

// Promote makes a standby the primary, as an operator does, and returns when it takes
// writes. The old primary hears nothing of it.
func (pg *Postgres) Promote(ctx context.Context) error {
	return pg.Exec(ctx, "DO $$ BEGIN IF NOT pg_promote() THEN RAISE 'not promoted in a minute'; END IF; END $$")
}

// Log is the end of the server's log, also after Stop.
func (pg *Postgres) Log() string { return pg.process.logText() }

// LogAll is all that the server has logged so far, also after Stop.
func (pg *Postgres) LogAll() (string, error) { return readAll(pg.process.log) }

// Addr is the server's host:port.
func (pg *Postgres) Addr() string { return fmt.Sprintf("%s:%d", pg.Host, pg.Port) }

// URL is a connection string for the TCP port, with sslmode=verify-full if the
// authority is known.
func (pg *Postgres) URL(user, password, database string) string {
	mode := url.Values{"sslmode": {"disable"}}
	if pg.CAFile != "" {
		mode = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {pg.CAFile}}
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: pg.Addr(), Path: "/" + database, RawQuery: mode.Encode()}
	return u.String()
}

// Superuser logs in through the socket as postgres. The caller must close it.
func (pg *Postgres) Superuser(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres password=unused dbname=postgres sslmode=disable", pg.SocketDir, pg.Port))
}

// AskTLS connects to what speaks the protocol of PostgreSQL, asks for TLS, and waits for
// the answer, 20 s at most.
func AskTLS(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}
