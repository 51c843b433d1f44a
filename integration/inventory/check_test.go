package inventory_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// The addresses of loopback that the databases have as endpoints.
const (
	writerHost, readerHost = "127.0.20.1", "127.0.20.2"
	tokensHost             = "127.0.20.3"
	mysqlHost, mariadbHost = "127.0.20.4", "127.0.20.5"
)

// realAccount is an account whose databases run: a cluster of PostgreSQL with a reader, an
// instance of it that takes tokens, one of MySQL and one of MariaDB. It returns the
// authority of their certificates, too.
func realAccount(t *testing.T) (aws *awsstub.Server, caFile string) {
	t.Helper()
	aws = startAWS(t, awsstub.Options{})
	ca, err := pki.NewRSACA("Test authority")
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var port int // of the instance that takes tokens
	verifier, err := servers.StartTokenVerifier(func(user, token string) error {
		return aws.VerifyRDSToken(token, tokensHost, port, user, time.Now())
	})
	must(err)
	t.Cleanup(func() { _ = verifier.Close() })

	writer := servers.RunPostgres(t, servers.PostgresOptions{Version: 18, Host: writerHost, CA: ca})
	must(writer.CreateRole(t.Context(), "app", planted))
	servers.RunPostgres(t, servers.PostgresOptions{Version: 18, Host: readerHost, Port: writer.Port, CA: ca, StandbyOf: writer})
	aws.AddDBCluster(awsstub.DBCluster{Identifier: "orders", Engine: "aurora-postgresql", Endpoint: writerHost, ReaderEndpoint: readerHost, Port: writer.Port,
		Database: "postgres", MasterSecret: managed(aws, "rds!cluster-orders", ofCluster, rdsARN+"cluster:orders")})
	for _, member := range []string{"orders-1", "orders-2"} {
		aws.AddDBInstance(awsstub.DBInstance{Identifier: member, Engine: "aurora-postgresql", Cluster: "orders", Host: member, Port: writer.Port})
	}

	tokens := servers.RunPostgres(t, servers.PostgresOptions{Version: 15, Host: tokensHost, CA: ca, IAM: verifier})
	port = tokens.Port
	must(tokens.CreateIAMRole(t.Context(), "app"))
	aws.AddDBInstance(awsstub.DBInstance{Identifier: "tokens", Engine: "postgres", Host: tokensHost, Port: port, Database: "postgres", IAM: true})

	for flavor, host := range map[string]string{"mysql": mysqlHost, "mariadb": mariadbHost} {
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, Host: host, CA: ca})
		must(my.CreateUser(t.Context(), "app", planted, ""))
		aws.AddDBInstance(awsstub.DBInstance{Identifier: flavor, Engine: flavor, Host: host, Port: my.Port})
	}
	secret(aws, "mysql/app", "", ofInstance, rdsARN+"db:mysql")
	secret(aws, "mariadb/app", mariadbHost)

	aws.AddDBInstance(awsstub.DBInstance{Identifier: "legacy", Engine: "oracle-ee", Host: "legacy." + zone, Port: 1521})
	caFile, err = ca.Write(t.TempDir(), "ca")
	must(err)
	return aws, caFile
}

// TestInitToSidecar goes from an account to a running sidecar: init finds what there is, its
// check of each database passes, and clients of each are logged in.
func TestInitToSidecar(t *testing.T) {
	aws, caFile := realAccount(t)
	file := filepath.Join(t.TempDir(), "credproxy.yaml")
	c := run(t, aws.Env(), "init", "--read-secrets", "--tls-ca-file", caFile, "--check", "-o", file)
	c.mustSay(t, 0, "5 databases served, 1 not")
	for _, name := range []string{"orders", "orders-reader", "tokens", "mysql", "mariadb"} {
		steps := regexp.MustCompile(`(?m)^` + name + `\n((  .*\n)+)`).FindString(c.stdout)
		if n := len(regexp.MustCompile(`(?m)^  (ok|warning) +(configuration|credential|dns|tcp|tls|login|rights) `).FindAllString(steps, -1)); n < 7 || strings.Contains(steps, "failed") {
			t.Errorf("%s:\n%s", name, steps)
		}
	}
	if t.Failed() {
		t.Fatal(c.stdout)
	}

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// At free ports: others of this machine may have the usual ones.
	free := regexp.MustCompile(`listen: localhost:\d+`).ReplaceAllString(string(text), "listen: 127.0.0.1:0")
	p := sidecar.Run(t, sidecar.Options{Binary: binary, Config: free, Env: aws.Env()}, planted)
	for name, readOnly := range map[string]string{"orders": "off", "orders-reader": "on", "tokens": "off"} {
		if got, err := askPostgres(t.Context(), p.Addr(t, name)); err != nil || got != readOnly {
			t.Errorf("%s: read-only %s, %v; want %s", name, got, err, readOnly)
		}
	}
	for name, says := range map[string]bool{"mysql": false, "mariadb": true} {
		if version, err := askMySQL(t.Context(), p.Addr(t, name)); err != nil || strings.Contains(version, "MariaDB") != says {
			t.Errorf("%s: version %s, %v", name, version, err)
		}
	}
}

// askPostgres asks a PostgreSQL, as a client without a password, whether it takes no writes.
func askPostgres(ctx context.Context, addr string) (readOnly string, err error) {
	conn, err := pgx.Connect(ctx, fmt.Sprintf("postgres://anybody@%s/postgres?sslmode=disable", addr))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "SHOW transaction_read_only").Scan(&readOnly)
	return readOnly, err
}

// askMySQL asks a MySQL or MariaDB, likewise, for its version.
func askMySQL(ctx context.Context, addr string) (version string, err error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr = "anybody", "tcp", addr
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return "", err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	err = db.QueryRowContext(ctx, "SELECT version()").Scan(&version)
	return version, err
}
