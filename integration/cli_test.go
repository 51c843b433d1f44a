package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// credproxy runs a command that is expected to end by itself.
func credproxy(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=10"}, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if ctx.Err() != nil {
		t.Errorf("credproxy %s did not end:\n%s", args, errs.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestUsage shows the exit status of calls and configurations that cannot work,
// and that everything wrong with a file is said at once.
func TestUsage(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"typo.yaml":  "databases:\n  - name: main\n    engin: postgres\n    tls: {mode: verify}\n    credentials: {file: {path: /x}}\n",
		"tls.yaml":   "databases:\n  - name: main\n    tls: {mode: require, ca_file: " + filepath.Join(dir, "tls.yaml") + "}\n    credentials: {file: {path: /x}}\n",
		"plain.yaml": "databases:\n  - name: main\n    engine: postgres\n    host: db.test\n    tls: {mode: disable}\n    credentials: {iam: {user: app, region: eu-west-1}}\n",
		"user.yaml":  "databases:\n  - name: main\n    access: {uids: [0, no-such-user]}\n    credentials: {file: {path: /x}}\n",
		"open.yaml":  "databases:\n  - name: main\n    listen: 0.0.0.0:5432\n    credentials: {file: {path: /x}}\n",
		"pem.yaml":   "databases:\n  - name: main\n    tls: {ca_file: " + filepath.Join(dir, "pem.yaml") + "}\n    credentials: {file: {path: /x}}\n",
	})
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"version", []string{"version"}, 0, nil},
		{"no command", []string{"serve"}, 2, []string{"serve", "--help"}},
		{"no configuration", []string{"run"}, 2, []string{"no configuration", "-c"}},
		{"unknown flag", []string{"run", "--listen=1"}, 2, []string{"--listen", "--help"}},
		{"bad value", []string{"run", "--log-level=loud", "-c", at("open.yaml")}, 2, nil},
		{"no such user", []string{"run", "-c", at("user.yaml")}, 2, []string{"database main: access.uids[1]", "no-such-user"}},
		{"no such file", []string{"run", "-c", at("none.yaml")}, 2, []string{"none.yaml"}},
		{"not an ARN", []string{"run", "prod/orders"}, 2, []string{"arn:aws:secretsmanager:"}},
		{"typing errors", []string{"run", "-c", at("typo.yaml")}, 2, []string{
			at("typo.yaml") + ":3:", "engin", `"engine"`, at("typo.yaml") + ":4:", "verify-full, verify-ca, require or disable",
		}},
		{"authority that would be ignored", []string{"run", "-c", at("tls.yaml")}, 2, []string{"verifies nothing"}},
		{"token in clear", []string{"run", "-c", at("plain.yaml")}, 2, []string{"over verified TLS only"}},
		{"open to everybody", []string{"run", "-c", at("open.yaml")}, 2, []string{"open to other machines"}},
		{"no certificate", []string{"run", "-c", at("pem.yaml")}, 2, []string{"tls.ca_file", "no certificate"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := credproxy(t, nil, tt.args...)
			if code != tt.code || !containsAll(stderr, tt.says) {
				t.Errorf("status %d, want %d with %q:\n%s%s", code, tt.code, tt.says, stdout, stderr)
			}
			if code == 2 && !strings.HasPrefix(stderr, "credproxy: ") {
				t.Errorf("errors do not start with the program's name:\n%s", stderr)
			}
		})
	}
}

// TestStartFails shows what credproxy finds out only when it is under way.
func TestStartFails(t *testing.T) {
	taken := listenLocal(t)
	file := filepath.Join(t.TempDir(), "login.json")
	writeFiles(t, filepath.Dir(file), map[string]string{"login.json": fmt.Sprintf(`{"username":"app","password":%q}`, appPassword)})
	for _, tt := range []struct {
		name, config string
		code         int
		says         []string
	}{
		{
			"port taken", "databases:\n" + fmt.Sprintf("  - {name: main, engine: postgres, listen: %q, credentials: {file: {path: %q}}}\n", taken.Addr(), file),
			1, []string{"database main", taken.Addr().String(), "the port is in use"},
		},
		{
			"admin port taken", fmt.Sprintf("admin: {listen: %q}\n", taken.Addr()) + "databases:\n" + database("main", fmt.Sprintf("file: {path: %q}", file), "engine: postgres"),
			1, []string{"admin.listen", taken.Addr().String()},
		},
		{
			"engine unknown", "admin: {listen: \"\"}\ndatabases:\n" + database("main", fmt.Sprintf("file: {path: %q}", file)),
			2, []string{"database main", "does not name an engine"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := sidecar.Start(sidecar.Options{Binary: binary, Config: tt.config, Debug: true})
			if err != nil {
				t.Fatal(err)
			}
			if code := p.Wait(); code != tt.code || !containsAll(p.Log(), tt.says) || strings.Contains(p.Log(), appPassword) {
				t.Errorf("status %d, want %d with %q:\n%s", code, tt.code, tt.says, p.Log())
			}
		})
	}
}

// TestSignals ends an idle credproxy, with and without sessions that never were.
func TestSignals(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("main", arn, "tls: "+tlsYAML("", pg.CAFile))}, appPassword)
			if err := w.logIn(t.Context(), w.Addr(t, "main"), "postgres"); err != nil {
				t.Fatal(err)
			}
			silent := dial(t, w.Addr(t, "main")) // a port scanner, say
			if _, err := silent.Write([]byte{0, 0}); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			w.Signal(s)
			if code := w.Wait(); code != 0 {
				t.Errorf("status %d", code)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("ending without sessions took %v", took)
			}
		})
	}
}
