package failover_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/servers"
)

// postgres is a primary and a standby. Its old primary ends when it is demoted.
type postgres struct{ version int }

func (e postgres) String() string { return fmt.Sprintf("postgres%d", e.version) }

func (postgres) yaml() string { return "engine: postgres" }

func (e postgres) start(ctx context.Context, at place, of server) (server, error) {
	o := servers.PostgresOptions{Version: e.version, Host: at.host, Port: at.port, Certificate: at.cert, CA: at.ca}
	if of != nil {
		o.StandbyOf = of.(*servers.Postgres)
		return servers.StartPostgres(ctx, o)
	}
	pg, err := servers.StartPostgres(ctx, o)
	if err != nil {
		return nil, err
	}
	err = errors.Join(pg.CreateRole(ctx, appUser, appPassword), pg.CreateRole(ctx, directUser, directPassword),
		pg.Exec(ctx, "CREATE TABLE writes (client int, number int, host text); GRANT ALL ON writes TO PUBLIC"))
	if err != nil {
		pg.Stop()
		return nil, err
	}
	return pg, nil
}

// demote stops the primary, which first streams all it has.
func (postgres) demote(_ context.Context, old, _ server) error {
	old.Stop()
	return nil
}

func (e postgres) follow(ctx context.Context, at place, _, next server) (server, error) {
	return e.start(ctx, at, next)
}

func (postgres) sessions(ctx context.Context, s server, user string) (n int, err error) {
	conn, err := s.(*servers.Postgres).Superuser(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	return n, conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1", user).Scan(&n)
}

func (postgres) secret(user, password, host string, port int) string {
	return fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":%q,"password":%q,"dbname":"postgres"}`, host, port, user, password)
}

func (postgres) connect(ctx context.Context, d door) (session, error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s user=%s password='%s' dbname=postgres sslmode=disable", d.host, d.port, d.user, d.password))
	if err != nil {
		return nil, err
	}
	if d.ca != nil {
		cfg.TLSConfig = &tls.Config{RootCAs: d.ca.Pool(), ServerName: d.host}
	}
	if d.resolver != nil {
		cfg.LookupFunc = d.resolver.LookupHost
	}
	cfg.DialFunc = d.dial
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return postgresSession{conn}, nil
}

type postgresSession struct{ *pgx.Conn }

func (s postgresSession) who(ctx context.Context) (host string, reader bool, err error) {
	return host, reader, s.QueryRow(ctx, "SELECT host(inet_server_addr()), pg_is_in_recovery()").Scan(&host, &reader)
}

func (s postgresSession) write(ctx context.Context, client, number int) error {
	_, err := s.Exec(ctx, "INSERT INTO writes VALUES ($1, $2, host(inet_server_addr()))", client, number)
	return err
}

func (s postgresSession) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = s.Close(ctx)
}

// readOnly reports whether a server refused a write because it takes none.
func readOnly(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "25006"
	}
	return mySQLReadOnly(err)
}
