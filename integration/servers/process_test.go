package servers_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/integration/servers"
)

// orphan in the environment makes the test binary start a server, name its
// folder, and wait to be killed.
const orphan = "CREDPROXY_TEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphan) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	pg, err := servers.StartPostgres(context.Background(), servers.PostgresOptions{Version: 18})
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(pg.SocketDir + "\n")
	select {}
}

// processesOf finds what runs from or works in a server's folder.
func processesOf(t *testing.T, folder string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	for _, proc := range all { // one that ends meanwhile reads as empty
		command, _ := os.ReadFile(proc + "/cmdline")
		cwd, _ := os.Readlink(proc + "/cwd")
		if strings.Contains(string(command), folder) || strings.HasPrefix(cwd, folder) {
			found = append(found, proc+" "+string(command))
		}
	}
	return found
}

func gone(folder string) bool {
	_, err := os.Stat(folder)
	return os.IsNotExist(err)
}

func TestStopLeavesNothing(t *testing.T) {
	var running []*servers.Postgres
	for range 2 { // also two of a kind at once
		pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 15})
		must(t, pg.CreateRole(t.Context(), "app", "secret"))
		running = append(running, pg)
	}
	for _, pg := range running {
		if len(processesOf(t, pg.SocketDir)) < 2 {
			t.Fatal("cannot see the server's processes")
		}
		pg.Stop()
		pg.Stop()
		if left := processesOf(t, pg.SocketDir); len(left) > 0 || !gone(pg.SocketDir) {
			t.Errorf("left after stop: %q, folder gone: %t", left, gone(pg.SocketDir))
		}
		if !strings.Contains(pg.Log(), "database system is shut down") {
			t.Errorf("not an orderly stop:\n%s", pg.Log())
		}
	}
}

func TestKilledTestLeavesNothing(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orphan+"=1")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	folder, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	folder = strings.TrimSpace(folder)
	if len(processesOf(t, folder)) == 0 {
		t.Fatal("cannot see the server's processes")
	}
	must(t, cmd.Process.Kill())
	cmd.Wait()
	deadline := time.Now().Add(20 * time.Second)
	for !gone(folder) || len(processesOf(t, folder)) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("left after the test process was killed: %q, folder gone: %t", processesOf(t, folder), gone(folder))
		}
		time.Sleep(20 * time.Millisecond)
	}
}
