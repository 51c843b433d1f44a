package deploy_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v4"

	"github.com/credproxy/credproxy/integration/servers"
)

// TestComposeRuns runs what deploy/compose runs, as processes of this machine: the database, credproxy
// with its file, the health check, the application, and the script that rotates. What differs are
// addresses and folders. deploy/check reads the Compose file itself.
func TestComposeRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "compose")
	if out, err := run(t, "cp", "-r", "deploy/compose", dir); err != nil {
		t.Fatal(out)
	}
	password := func() string {
		text, err := os.ReadFile(filepath.Join(dir, "secrets/password"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18, NoTLS: true})
	if err := pg.CreateRole(t.Context(), "app", password()); err != nil {
		t.Fatal(err)
	}
	psql := servers.PostgresProgram(t, 18, "psql")
	superuser := []string{"-Xq", "--host=" + pg.SocketDir, "--port=" + strconv.Itoa(pg.Port), "--username=postgres"}
	if out, err := run(t, psql, append(superuser, "--dbname=postgres", "--command=CREATE DATABASE orders OWNER app")...); err != nil {
		t.Fatal(out)
	}

	var services struct {
		Services map[string]struct {
			Command     []string
			Healthcheck struct{ Test []string }
		}
	}
	if err := yaml.Unmarshal([]byte(file(t, "deploy/compose/compose.yaml")), &services); err != nil {
		t.Fatal(err)
	}
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = servers.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	config := filepath.Join(dir, "credproxy.yaml")
	write(t, config, replace(t, file(t, "deploy/compose/credproxy.yaml"),
		"host: database\n", fmt.Sprintf("host: %s\n    port: %d\n", pg.Host, pg.Port), "127.0.0.1:5432", address, "/run/secrets", filepath.Join(dir, "secrets")))
	proxy := exec.CommandContext(t.Context(), binary, "run", "-c", config)
	proxy.Env = []string{fmt.Sprintf("CREDPROXY_ADMIN_LISTEN=127.0.0.1:%d", ports[1])}
	proxy.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log strings.Builder
	proxy.Stderr = &log
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	check := services.Services["credproxy"].Healthcheck.Test
	if len(check) != 3 || check[0] != "CMD" || check[1] != "/usr/bin/credproxy" {
		t.Fatalf("health check %q", check)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		cmd := exec.CommandContext(t.Context(), binary, check[2:]...)
		cmd.Env = proxy.Env
		if out, err := cmd.CombinedOutput(); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("not healthy: %s", out)
		}
	}
	application := services.Services["application"].Command
	login := func() {
		t.Helper()
		out, err := run(t, psql, strings.Split(replace(t, strings.Join(application[1:], "\x00"), "127.0.0.1:5432", address), "\x00")...)
		if err != nil || !strings.Contains(out, "\n app\n") {
			t.Errorf("the application: %v: %s", err, out)
		}
	}
	login()

	before := password()
	docker := filepath.Join(t.TempDir(), "docker") // of rotate.sh
	script := "#!/bin/bash\n[ \"$1 $2 $3 $4 $5\" = 'compose exec -T database psql' ] && exec " + psql + " " + strings.Join(superuser, " ") + " --dbname=orders \"${@: -1}\"\n"
	if err := os.WriteFile(docker, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	rotate := exec.CommandContext(t.Context(), filepath.Join(dir, "rotate.sh"))
	rotate.Env = []string{"PATH=" + filepath.Dir(docker) + ":" + os.Getenv("PATH")}
	if out, err := rotate.CombinedOutput(); err != nil || string(out) != "rotated\n" {
		t.Fatalf("rotate.sh: %v: %s", err, out)
	}
	if password() == before {
		t.Error("the file has the old password")
	}
	if conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://app:%s@%s:%d/orders?sslmode=disable", before, pg.Host, pg.Port)); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the database takes the old password")
	}
	login()
	_ = proxy.Process.Signal(syscall.SIGTERM)
	if err := proxy.Wait(); err != nil {
		t.Errorf("credproxy ended: %v\n%s", err, &log)
	}
	for _, secret := range []string{before, password()} {
		if strings.Contains(log.String(), secret) {
			t.Error("a password is in the log")
		}
	}
}

// replace replaces pairs, each of which has to be there.
func replace(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in %q", pairs[i], text)
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
