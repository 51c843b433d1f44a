// Package tracing_test has real clients log in at real servers through the built credproxy, and
// looks at the traces that a receiver of OTLP gets of it.
//
// It knows nothing of credproxy's inside. A server that is missing fails a test; run
// setup.sh first.
package tracing_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// What is planted: none of it may be in a trace.
const (
	appUser     = "planted_user"
	clientUser  = "planted_client"
	appPassword = "planted-App-1"
	headerValue = "planted-Header-1"
	secretName  = "prod/orders"
)

// binary is credproxy, built with the race detector.
var binary string

func TestMain(m *testing.M) { sidecar.Main(m, sidecar.Built(&binary)) }

// stand is the secret of a server and a credproxy with traces.
type stand struct {
	aws      *awsstub.Server
	receiver *receiver
	proxy    *sidecar.Proxy
	addr     string
}

// start starts all of it, with more YAML of the database.
func start(t *testing.T, engine, secret, caFile string, more ...string) *stand {
	t.Helper()
	s := &stand{receiver: run(t)}
	s.aws = startAWS(t, secret)
	env := append(s.aws.Env(), "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_EXPORTER_OTLP_HEADERS=api-key="+headerValue)
	s.proxy = sidecar.Run(t, sidecar.Options{Binary: binary, Config: config(engine, caFile, s.receiver.URL, more...), Env: env}, appPassword, headerValue)
	s.addr = s.proxy.Addr(t, "orders")
	t.Cleanup(func() { s.receiver.holdsNoSecret(t, s.aws) })
	return s
}

func startAWS(t *testing.T, secret string) *awsstub.Server {
	t.Helper()
	aws, err := awsstub.Start(awsstub.Options{})
	must(t, err)
	t.Cleanup(aws.Close)
	aws.CreateSecret(secretName, secret)
	return aws
}

func config(engine, caFile, endpoint string, more ...string) string {
	yaml := fmt.Sprintf("tracing: {endpoint: %q}\ndatabases:\n  - name: orders\n    engine: %s\n    listen: 127.0.0.1:0\n    credentials: {secrets_manager: {secret_id: %s}}\n    tls: {ca_file: %q}\n",
		endpoint, engine, secretName, caFile)
	for _, line := range more {
		yaml += "    " + line + "\n"
	}
	return yaml
}

// holdsNoSecret looks through all that arrived for what was planted, for the account's id, for
// each password that the secret ever had, for whole version ids and for SQL.
func (r *receiver) holdsNoSecret(t *testing.T, aws *awsstub.Server) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.raw) == 0 {
		t.Error("nothing arrived to be looked through")
	}
	all := string(r.raw)
	hidden := []string{appUser, clientUser, awsstub.AccountID, appPassword, headerValue, "SELECT", "SHOW ", "SET SESSION", "DISCARD"}
	for _, v := range aws.Secret(secretName).Versions {
		var value struct{ Password string }
		_ = json.Unmarshal([]byte(*v.Text), &value)
		hidden = append(hidden, v.ID, value.Password)
	}
	for _, s := range hidden {
		if strings.Contains(all, s) {
			t.Errorf("%q arrived at the receiver", s)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// postgres starts a server with the user app, and returns it with its secret.
func postgres(t *testing.T, version int) (*servers.Postgres, string) {
	t.Helper()
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: version})
	must(t, pg.CreateRole(t.Context(), appUser, appPassword))
	return pg, secretOf("postgres", pg.Port, "postgres")
}

func secretOf(engine string, port int, database string) string {
	text, _ := json.Marshal(map[string]any{"engine": engine, "host": "localhost", "port": port, "username": appUser, "password": appPassword, "dbname": database})
	return string(text)
}

// connect logs in through credproxy; name is the client's application_name.
func (s *stand) connect(ctx context.Context, name string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("postgres://" + clientUser + "@" + s.addr + "/postgres?sslmode=disable")
	if err != nil {
		return nil, err
	}
	if name != "" {
		cfg.RuntimeParams["application_name"] = name
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	return pgx.ConnectConfig(ctx, cfg)
}

// visit logs in and leaves.
func (s *stand) visit(t *testing.T, name string) {
	t.Helper()
	conn, err := s.connect(t.Context(), name)
	must(t, err)
	must(t, conn.Close(t.Context()))
}
