package integration_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestSources logs in with a credential from every kind of source and of every
// shape.
func TestSources(t *testing.T) {
	const (
		role = "arn:aws:iam::" + awsstub.AccountID + ":role/reader"
		id   = "credproxy-external"
	)
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{Roles: []awsstub.Role{{ARN: role, ExternalID: id}}, Identities: []awsstub.Identity{{
		AccessKeyID: "AKIAPLANTEDSTATIC", SecretAccessKey: secretAccessKey,
		Allow: func(action, resource string) bool {
			return action == "sts:AssumeRole" || !strings.Contains(resource, "role-only")
		},
	}}})
	good, dir := secretJSON(pg, "app", appPassword), t.TempDir()
	jsonFile, folder := filepath.Join(dir, "login.json"), filepath.Join(dir, "login")
	writeFiles(t, dir, map[string]string{"login.json": good, "login/username": "app\n", "login/password": appPassword + "\n"})

	arn := aws.CreateSecret("plain", good)
	many := aws.CreateSecret("many", fmt.Sprintf(`{"host":"localhost","port":"%d","teams":[{"a/b":{"user":"app","pass~word":%q}}]}`, pg.Port, appPassword))
	managed := aws.CreateSecret("rds!cluster-0f1e2d3c", fmt.Sprintf(`{"username":"app","password":%q}`, appPassword))
	textPort := aws.CreateSecret("text-port", fmt.Sprintf(`{"engine":"aurora-postgresql","host":"localhost","port":"%d","username":"app","password":%q}`, pg.Port, appPassword))
	roleOnly := aws.CreateSecret("role-only", good)

	tls, engine := "tls: "+tlsYAML("", pg.CAFile), "engine: postgres"
	at := []string{tls, engine, "host: localhost", fmt.Sprintf("port: %d", pg.Port), "database: postgres"}
	assume := func(externalID string) string {
		return fmt.Sprintf("secrets_manager: {secret_id: %q, assume_role: {role_arn: %q, external_id: %s}}", roleOnly, role, externalID)
	}
	config := "databases:\n" +
		database("json-file", fmt.Sprintf("file: {path: %q}", jsonFile), tls) +
		database("directory", fmt.Sprintf("file: {path: %q}", folder), at...) +
		database("environment", "env: {username: DB_USER, password: DB_PASSWORD}", at...) +
		smDatabase("region-of-arn", arn, tls) +
		database("many", fmt.Sprintf(`secrets_manager: {secret_id: %q, keys: {username: /teams/0/a~1b/user, password: "/teams/0/a~1b/pass~0word"}}`, many), tls, engine) +
		smDatabase("managed-by-rds", managed, tls, "host: localhost", fmt.Sprintf("port: %d", pg.Port)) +
		database("text-port", fmt.Sprintf("secrets_manager: {secret_id: %q}", textPort), tls) + // the engine is the secret's, too
		database("role", assume(id), tls, engine) +
		database("stranger", assume("not-"+id), tls, engine)
	// Another region than the secrets': each ARN names its own.
	env := append(aws.Env(), "AWS_REGION=us-east-1", "DB_USER=app", "DB_PASSWORD="+appPassword)
	w := watch(t, sidecar.Options{Config: config, Env: env}, appPassword, secretAccessKey)
	for _, name := range []string{"json-file", "directory", "environment", "region-of-arn", "many", "managed-by-rds", "text-port", "role"} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, w.Addr(t, name), "postgres")
			if got := ask(t, conn, "SELECT current_user || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != "app true" {
				t.Errorf("logged in as %s", got)
			}
		})
	}
	e := w.refused(t, "stranger", "postgres")
	if w.ours(t, e, "57P03", "may not read the secret"); !strings.Contains(e.Hint, "take the role of assume_role") {
		t.Errorf("the hint is about something else: %s", e.Hint)
	}
	w.failure(t, "stranger", "assume role "+role, "external id", "sts:AssumeRole")
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// mount is a directory as the kubelet mounts a secret: ..data is a link to the
// folder of one version, and is replaced as a whole.
type mount struct {
	dir      string
	versions int
}

func newMount(t *testing.T, user, password string) *mount {
	t.Helper()
	m := &mount{dir: t.TempDir()}
	m.put(t, user, password)
	for _, name := range []string{"username", "password"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *mount) put(t *testing.T, user, password string) {
	t.Helper()
	old := fmt.Sprintf("..version_%d", m.versions)
	m.versions++
	folder := fmt.Sprintf("..version_%d", m.versions)
	writeFiles(t, filepath.Join(m.dir, folder), map[string]string{"username": user, "password": password})
	next := filepath.Join(m.dir, "..data_tmp")
	if err := os.Symlink(folder, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(m.dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(m.dir, old)); err != nil {
		t.Fatal(err)
	}
}

// TestKubernetesSwap changes the password in a mounted secret and in the
// database, in either order, again and again while clients log in. None of them
// fails.
func TestKubernetesSwap(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	m := newMount(t, "app", appPassword)
	w := watch(t, sidecar.Options{Config: "databases:\n" + database("main", fmt.Sprintf("file: {path: %q}", m.dir), "engine: postgres",
		"host: localhost", fmt.Sprintf("port: %d", pg.Port), "database: postgres", "tls: "+tlsYAML("", pg.CAFile))}, appPassword, "planted-swap-")
	addr := w.Addr(t, "main")
	var logins, stop atomic.Int64
	var all sync.WaitGroup
	defer all.Wait()
	defer stop.Store(1)
	for range 4 {
		all.Go(func() {
			for stop.Load() == 0 {
				if err := w.logIn(context.WithoutCancel(t.Context()), addr, "postgres"); err != nil {
					t.Errorf("login %d: %v", logins.Load(), err)
					return
				}
				logins.Add(1)
			}
		})
	}
	more := func(n int64) {
		from := logins.Load()
		sidecar.Await(t, "more logins", func() bool { return logins.Load() >= from+n })
	}
	failed := func() int { return strings.Count(w.Log(), "credential rejected by the database") }
	for round := range 6 {
		more(20)
		password, before := fmt.Sprintf("planted-swap-%d", round), failed()
		setPassword := func() {
			if err := pg.SetPassword(t.Context(), "app", password); err != nil {
				t.Error(err)
			}
		}
		switch round % 3 {
		case 0: // at once
			m.put(t, "app", password)
			setPassword()
		case 1: // the mount first: the new password is known before the database takes it
			m.put(t, "app", password)
			more(20)
			setPassword()
		case 2: // the database first: logins wait for the mount
			setPassword()
			sidecar.Await(t, "a refused login", func() bool { return failed() > before })
			m.put(t, "app", password)
		}
	}
	more(20)
	if n := failed(); n > 60 {
		t.Errorf("%d failed logins on the server for 6 changes of the password", n)
	}
}
