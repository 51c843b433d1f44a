package integration_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestSecretErrors shows what is wrong with a secret, one database for each, and
// that the same listener works once it is put right.
func TestSecretErrors(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	good := secretJSON(pg, "app", appPassword)
	var allowed atomic.Bool
	aws := startAWS(t, awsstub.Options{Identities: []awsstub.Identity{{
		AccessKeyID: "AKIAPLANTEDSTATIC", SecretAccessKey: secretAccessKey,
		Allow: func(_, resource string) bool { return allowed.Load() || !strings.Contains(resource, "denied") },
	}}})
	put := func(name, value string) func() { return func() { aws.PutSecret(name, value) } }
	without := func(key string) string { return strings.Replace(good, `"`+key+`":`, `"not_`+key+`":`, 1) }
	cases := []struct {
		name, value string // of the secret; none if empty
		message     string
		logged      string
		repair      func()
	}{
		{"missing", "", "does not exist", "ResourceNotFoundException", func() { aws.CreateSecret("missing", good) }},
		{"denied", good, "may not read the secret", "secretsmanager:GetSecretValue", func() { allowed.Store(true) }},
		{"text", appPassword, "does not hold a database credential", "not valid JSON", put("text", good)},
		{"list", `["` + appPassword + `"]`, "does not hold a database credential", "not a JSON object", put("list", good)},
		{"binary", good, "does not hold a database credential", "it is binary", put("binary", good)},
		{"nopassword", without("password"), "does not hold a database credential", "password is missing", put("nopassword", good)},
		{"nouser", without("username"), "does not hold a database credential", "username is missing", put("nouser", good)},
		{"badport", strings.Replace(good, strconv.Itoa(pg.Port), "99999", 1), "does not hold a database credential", "port is not a number", put("badport", good)},
		{"oracle", strings.Replace(good, `"engine":"postgres"`, `"engine":"oracle-ee"`, 1), "does not hold a database credential", "engine is oracle", put("oracle", good)},
		{"nohost", without("host"), "names the database's host", "names the database's host", put("nohost", good)},
	}
	config := "databases:\n"
	for _, c := range cases {
		if c.value != "" {
			aws.CreateSecret(c.name, c.value)
		}
		config += smDatabase(c.name, c.name, "tls: "+tlsYAML("", pg.CAFile))
	}
	aws.Edit("binary", func(s *awsstub.Secret) {
		v := s.Stage(awsstub.Current)
		v.Text, v.Binary = nil, []byte(good)
	})
	w := watch(t, sidecar.Options{Config: config, Env: aws.Env()}, appPassword, secretAccessKey)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w.ours(t, w.refused(t, c.name, "postgres"), "57P03", c.message)
			w.failure(t, c.name, `"result":"secret"`, c.logged)
			if ready, why := w.ready(t); ready || c.name != "nohost" && !strings.Contains(why, c.name) {
				t.Errorf("readiness %v: %s", ready, why)
			}
		})
	}
	for _, c := range cases {
		c.repair()
	}
	for _, c := range cases {
		t.Run(c.name+" repaired", func(t *testing.T) { w.recovers(t, c.name, "postgres") })
	}
	if ready, why := w.ready(t); !ready {
		t.Errorf("not ready after the repairs: %s", why)
	}
}

// TestStoreErrors shows a store of secrets that fails before credproxy has a
// credential. Clients are told so within login_timeout, and are logged in soon
// after it has recovered.
func TestStoreErrors(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	for _, tt := range []struct {
		name    string
		fault   awsstub.FaultKind
		message string
		logged  string
	}{
		{"throttled", awsstub.Throttle, "no database credential could be fetched yet", "ThrottlingException"},
		{"error500", awsstub.InternalError, "no database credential could be fetched yet", "InternalServiceError"},
		{"error503", awsstub.Unavailable, "no database credential could be fetched yet", "503"},
		{"dropped", awsstub.Drop, "no database credential could be fetched yet", "EOF"},
		{"hanging", awsstub.Hang, "no database credential could be fetched yet", "in time"},
		{"expired", awsstub.ExpiredToken, "no database credential could be fetched yet", "the AWS credentials have expired"},
		{"key denied", awsstub.KMSAccessDenied, "may not read the secret", "kms:Decrypt"},
		{"key disabled", awsstub.DecryptionFailure, "may not read the secret", "kms:Decrypt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			aws := startAWS(t, awsstub.Options{})
			arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
			aws.Inject("GetSecretValue", awsstub.Fault{Kind: tt.fault})
			w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
				smDatabase("main", arn, "tls: "+tlsYAML("", pg.CAFile), "limits: {login_timeout: 3s}")}, appPassword)
			w.Addr(t, "main") // it listens, whatever AWS does
			start := time.Now()
			w.ours(t, w.refused(t, "main", "postgres"), "57P03", tt.message)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("the client was told after %v", took)
			}
			w.failure(t, "main", `"result":"secret"`, tt.logged)
			aws.ClearFaults()
			w.recovers(t, "main", "postgres")
		})
	}
}

// TestFileErrors shows what is wrong with credentials from files and variables.
func TestFileErrors(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"broken.json": `{"username": "app", "password": ` + appPassword, "half/username": "app"})
	at := []string{"engine: postgres", "host: localhost", fmt.Sprintf("port: %d", pg.Port), "database: postgres", "tls: " + tlsYAML("", pg.CAFile)}
	file := func(name string) string { return fmt.Sprintf("file: {path: %q}", filepath.Join(dir, name)) }
	w := watch(t, sidecar.Options{Config: "databases:\n" +
		database("absent", file("absent.json"), at...) + database("broken", file("broken.json"), at...) + database("half", file("half"), at...) +
		database("unset", "env: {username: DB_USER, password: DB_PASSWORD}", at...)}, appPassword)
	for _, tt := range []struct{ name, message, logged, repair string }{
		{"absent", "does not exist", "absent.json", "absent.json"},
		{"broken", "does not hold a database credential", "not valid JSON", "broken.json"},
		{"half", "does not exist", "half/password", "half/password"},
		{"unset", "does not exist", "DB_USER is not set", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := w.refused(t, tt.name, "postgres")
			if w.ours(t, e, "57P03", tt.message); tt.name == "unset" && !strings.Contains(e.Hint, "credentials.env") {
				t.Errorf("the hint is about something else: %s", e.Hint)
			}
			w.failure(t, tt.name, `"result":"secret"`, tt.logged)
			switch {
			case tt.repair == "":
				return
			case tt.name == "half":
				writeFiles(t, dir, map[string]string{tt.repair: appPassword})
			default:
				writeFiles(t, dir, map[string]string{tt.repair: secretJSON(pg, "app", appPassword)})
			}
			w.recovers(t, tt.name, "postgres")
		})
	}
}
