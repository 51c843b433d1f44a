package pool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

const appPassword = "planted-App-1"

// stand is a server, its secret, and a credproxy with a pool.
type stand struct {
	aws   *awsstub.Server
	proxy *sidecar.Proxy
	addr  string
}

const (
	secretName = "prod/app"
	queueName  = "rotations" // to which AWS sends its events
)

// postgresStand starts all three, with more YAML of the database: its pool, at least.
func postgresStand(t *testing.T, pg *servers.Postgres, more ...string) *stand {
	t.Helper()
	aws, err := awsstub.Start(awsstub.Options{})
	must(t, err)
	t.Cleanup(aws.Close)
	aws.CreateQueue(queueName)
	aws.CreateSecret(secretName, secret(pg, "app", appPassword))
	config := fmt.Sprintf("databases:\n  - name: main\n    listen: 127.0.0.1:0\n    credentials: {secrets_manager: {secret_id: %s}}\n    tls: {ca_file: %q}\n", secretName, pg.CAFile)
	for _, line := range more {
		config += "    " + line + "\n"
	}
	p := sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: aws.Env()}, appPassword)
	return &stand{aws: aws, proxy: p, addr: p.Addr(t, "main")}
}

func secret(pg *servers.Postgres, user, password string) string {
	text, _ := json.Marshal(map[string]any{"engine": "postgres", "host": pg.Host, "port": pg.Port, "username": user, "password": password, "dbname": "postgres"})
	return string(text)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect connects through credproxy; the test closes the connection.
func (s *stand) connect(t testing.TB, params ...string) *pgx.Conn {
	t.Helper()
	url := "postgres://anybody@" + s.addr + "/postgres?sslmode=disable"
	for _, p := range params {
		url += "&" + p
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	must(t, err)
	return conn
}

func ask(t testing.TB, conn *pgx.Conn, sql string) (answer string) {
	t.Helper()
	must(t, conn.QueryRow(t.Context(), sql).Scan(&answer))
	return answer
}

// metric reads one of the pool's.
func (s *stand) metric(t testing.TB, name string, labels ...string) int {
	t.Helper()
	n, err := s.proxy.Metric("credproxy_pool_"+name, labels...)
	must(t, err)
	return int(n)
}

// leave closes a client's connection and waits until its session is back in the pool, or
// closed.
func (s *stand) leave(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	must(t, conn.Close(t.Context()))
	sidecar.Await(t, "end of the session's use", func() bool { return s.metric(t, "in_use") == 0 })
}
