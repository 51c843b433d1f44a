package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// mysqladmin runs the flavor's own against addr and returns its exit status.
func mysqladmin(t *testing.T, my *servers.MySQL, addr string, args ...string) (status int, said string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	name := map[string]string{"mysql": "mysqladmin", "mariadb": "mariadb-admin"}[my.Flavor]
	flags := []string{"--no-defaults", "--protocol=tcp", "--host=" + host, "--port=" + port, "--connect-timeout=3"}
	cmd := exec.CommandContext(ctx, servers.MySQLProgram(t, my.Flavor, name), append(flags, args...)...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%v does not end: %s", args, out)
	}
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// mySQLPID reads the process id of a server.
func mySQLPID(t *testing.T, my *servers.MySQL) int {
	t.Helper()
	root, err := my.Superuser()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var file, folder string
	if err := root.QueryRowContext(t.Context(), "SELECT @@pid_file, @@datadir").Scan(&file, &folder); err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(folder, file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestMySQLAdminPing holds that mysqladmin exits through credproxy as it does directly,
// whatever state the server is in, and that --wait waits for it.
func TestMySQLAdminPing(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		o := servers.MySQLOptions{Flavor: flavor, CA: newCA(t)}
		my := newMySQL(t, o)
		o.Port = my.Port
		aws := startAWS(t, awsstub.Options{})
		arn := aws.CreateSecret("prod/main", mySQLSecret(my, "app", appPassword))
		w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + mySQLEntry("main", arn, "tls: "+tlsYAML("", my.CAFile)) +
			mySQLEntry("refused", aws.CreateSecret("refused", mySQLSecret(my, "app", "planted-wrong")), "tls: "+tlsYAML("", my.CAFile)) +
			mySQLEntry("missing", "missing", "engine: "+flavor, "tls: "+tlsYAML("", my.CAFile)) +
			mySQLEntry("never", arn, "tls: "+tlsYAML("", caFile(t, t.TempDir(), "other", newCA(t))))}, appPassword)
		main := w.Addr(t, "main")
		proved(t, w.Proxy, "main")
		user := my.Flags("app", appPassword)
		direct := func(args ...string) int {
			status, _ := mysqladmin(t, my, my.Addr(), append(slices.Clone(user[4:]), args...)...)
			return status
		}
		same := func(state string, want int) {
			t.Helper()
			through, said := mysqladmin(t, my, main, "--user=anybody", "ping")
			if got := direct("ping"); got != want || through != want {
				t.Errorf("%s: mysqladmin exits with %d directly and %d through credproxy, want %d: %s", state, got, through, want, said)
			}
		}
		same("running", 0)
		for _, tt := range []struct {
			state, name string
			status      int
			said        string
		}{
			{"wrong certificate", "never", 1, "authority that credproxy does not know"},
			{"no credential", "missing", 1, "does not exist"},
			{"credential refused", "refused", 0, "Access denied"},
		} {
			if status, said := mysqladmin(t, my, w.Addr(t, tt.name), "--user=anybody", "ping"); status != tt.status || !strings.Contains(said, tt.said) {
				t.Errorf("%s: exits with %d, want %d: %s", tt.state, status, tt.status, said)
			}
		}
		if status, said := mysqladmin(t, my, my.Addr(), append(slices.Clone(user[4:]), "--password=planted-wrong", "ping")...); status != 0 {
			t.Errorf("credential refused, directly: exits with %d: %s", status, said)
		}
		pid := mySQLPID(t, my)
		_ = syscall.Kill(pid, syscall.SIGSTOP)
		same("paused", 1)
		_ = syscall.Kill(pid, syscall.SIGCONT)
		sidecar.Await(t, "the server to go on", func() bool { status, _ := mysqladmin(t, my, main, "--user=anybody", "ping"); return status == 0 })
		same("running again", 0)
		my.Stop()
		same("stopped", 1)
		if _, said := mysqladmin(t, my, main, "--user=anybody", "ping"); !strings.Contains(said, "refuses connections") {
			t.Errorf("stopped: mysqladmin says %s", said)
		}
		if flavor == "mariadb" { // which waits for nothing that a server says
			return
		}
		waited := make(chan int, 1)
		go func() {
			status, _ := mysqladmin(t, my, main, "--user=anybody", "--wait=60", "ping")
			waited <- status
		}()
		newMySQL(t, o)
		if status := <-waited; status != 0 {
			t.Errorf("mysqladmin --wait exits with %d when the server is back", status)
		}
	})
}

// TestMySQLNextHost gives drivers two hosts, of which the first is a credproxy whose
// database is away. They go on to the second as they would without credproxy.
func TestMySQLNextHost(t *testing.T) {
	o := servers.MySQLOptions{Flavor: "mariadb", CA: newCA(t)}
	my := newMySQL(t, o)
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", mySQLSecret(my, "app", appPassword))
	link := "tls: " + tlsYAML("", my.CAFile)
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + mySQLEntry("good", arn, link) +
		mySQLEntry("away", arn, link, "host: 127.0.0.1", fmt.Sprintf("port: %d", freePort(t))) +
		mySQLEntry("untrusted", arn, "tls: "+tlsYAML("", caFile(t, t.TempDir(), "other", newCA(t))))}, appPassword)
	good := w.Addr(t, "good")
	proved(t, w.Proxy, "good")
	for _, name := range []string{"away", "untrusted"} {
		cmd := exec.CommandContext(t.Context(), "java", "-XX:TieredStopAtLevel=1", "-cp", connectorJ, "NextHost.java", w.Addr(t, name), good)
		cmd.Dir = filepath.Join("testdata", "drivers")
		if got := strings.TrimSpace(output(t, cmd)); got != "app@%" {
			t.Errorf("%s first: Connector/J ends up as %q", name, got)
		}
		node := exec.CommandContext(t.Context(), "node", "next_host.js", w.Addr(t, name), good)
		node.Dir, node.Env = cmd.Dir, append(node.Environ(), "NODE_PATH="+nodeModules)
		if got := strings.TrimSpace(output(t, node)); got != "app@%" {
			t.Errorf("%s first: mysql2 ends up as %q", name, got)
		}
	}
}
