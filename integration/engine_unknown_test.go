package integration_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestEngineUnknown leaves the engine to a secret that is missing, then names none, then
// is put right. Clients of both protocols hear why at once, the process has begun, and a
// healthy database beside it does not notice.
func TestEngineUnknown(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	whole := secretJSON(pg, "app", appPassword)
	aws.CreateSecret("prod/main", whole)
	late := database("late", `secrets_manager: {secret_id: prod/late}`, "tls: "+tlsYAML("", pg.CAFile), "rotation: {refresh: 300ms}")
	late = strings.Replace(late, "127.0.0.1:0", "127.0.0.1:%s", 1)
	port := strconv.Itoa(freePort(t))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("main", "prod/main", "tls: "+tlsYAML("", pg.CAFile)) + fmt.Sprintf(late, port)}, appPassword)
	addr := "127.0.0.1:" + port
	session := connect(t, w.Addr(t, "main"), "postgres")
	sidecar.Await(t, "the start", func() bool { code, _, err := w.Get("/startup"); return err == nil && code == http.StatusOK })

	hears := func(want string) {
		t.Helper()
		sidecar.Await(t, want, func() bool {
			err := w.logIn(t.Context(), addr, "postgres")
			return hasCode(err, "57P03") && strings.Contains(err.Error(), want)
		})
		db, err := sql.Open("mysql", "anybody@tcp("+addr+")/")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := db.PingContext(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a client of MySQL hears %v, want %s", err, want)
		}
		if got := ask(t, session, "SELECT 1"); got != "1" {
			t.Errorf("the session of the healthy database answers %s", got)
		}
	}
	hears("the secret with the database credential does not exist")
	aws.CreateSecret("prod/late", strings.Replace(whole, `"engine":"postgres",`, "", 1))
	hears("does not name an engine")
	if _, body, err := w.Get("/status"); err != nil || !strings.Contains(body, "not listening: database late: the secret does not name an engine") {
		t.Errorf("the status does not tell: %v %s", err, body)
	}
	awaitMetric(t, w.Proxy, 0, "credproxy_database_ready", `database="late"`)
	if !w.logged("late", "database does not listen", "does not name an engine") {
		t.Error("the log does not tell")
	}
	aws.PutSecret("prod/late", whole)
	w.recovers(t, "late", "postgres")
	awaitMetric(t, w.Proxy, 1, "credproxy_database_ready", `database="late"`)
}

// TestThousandDatabases starts with as many secrets as a configuration may hold, of one
// role: it is assumed once.
func TestThousandDatabases(t *testing.T) {
	const role = "arn:aws:iam::" + awsstub.AccountID + ":role/reader"
	aws := startAWS(t, awsstub.Options{})
	aws.AddRole(awsstub.Role{ARN: role})
	var config strings.Builder
	for i := range 1000 {
		name := fmt.Sprintf("db%03d", i)
		aws.CreateSecret(name, fmt.Sprintf(`{"username":"app","password":%q}`, appPassword))
		config.WriteString(database(name, fmt.Sprintf("secrets_manager: {secret_id: %s, assume_role: {role_arn: %q}}", name, role), "engine: postgres", "host: 127.0.0.1", "port: 1"))
	}
	watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + config.String(), KeepLog: 1 << 20}, appPassword)
	if !eventually(2*time.Minute, func() bool { return aws.Calls("GetSecretValue") >= 1000 }) { // with the race detector
		t.Fatalf("%d secrets were read", aws.Calls("GetSecretValue"))
	}
	if n := aws.Calls("AssumeRole"); n != 1 {
		t.Errorf("the role was assumed %d times", n)
	}
}
