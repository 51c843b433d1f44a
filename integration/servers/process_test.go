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

// orphan in the environment makes the test binary start a server of that kind,
// name its folder, and wait to be killed.
const orphan = "CREDPROXY_TEST_ORPHAN"

func TestMain(m *testing.M) {
	kind := os.Getenv(orphan)
	if kind == "" {
		goleak.VerifyTestMain(m)
		return
	}
	_, folder, err := startKind(context.Background(), kind)
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(folder + "\n")
	select {}
}

type server interface {
	Stop()
	Log() string
}

// kinds of servers, and what they log last.
var kinds = map[string]string{"postgres": "database system is shut down", "mysql": "MySQL Server - end", "mariadb": "Shutdown complete"}

// startKind starts a server and says where its folder is.
func startKind(ctx context.Context, kind string) (server, string, error) {
	if kind == "postgres" {
		pg, err := servers.StartPostgres(ctx, servers.PostgresOptions{Version: 18})
		if err != nil {
			return nil, "", err
		}
		return pg, pg.SocketDir, nil
	}
	my, err := servers.StartMySQL(ctx, servers.MySQLOptions{Flavor: kind})
	if err != nil {
		return nil, "", err
	}
	return my, my.SocketDir, nil
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
	for kind, last := range kinds {
		t.Run(kind, func(t *testing.T) {
			running := map[string]server{}
			for range 2 { // also two of a kind at once
				server, folder, err := startKind(t.Context(), kind)
				must(t, err)
				t.Cleanup(server.Stop)
				running[folder] = server
			}
			for folder, server := range running {
				if len(processesOf(t, folder)) == 0 {
					t.Fatal("cannot see the server's processes")
				}
				server.Stop()
				server.Stop()
				if left := processesOf(t, folder); len(left) > 0 || !gone(folder) {
					t.Errorf("left after stop: %q, folder gone: %t", left, gone(folder))
				}
				if !strings.Contains(server.Log(), last) {
					t.Errorf("not an orderly stop:\n%s", server.Log())
				}
			}
		})
	}
}

func TestKilledTestLeavesNothing(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), orphan+"="+kind)
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
		})
	}
}
