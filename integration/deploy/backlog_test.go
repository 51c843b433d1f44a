package deploy_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/servers"
)

// TestBacklogWithoutSysctls: where /proc has processes only, as the unit's ProcSubset=pid
// has it, as many clients may wait to be accepted as the kernel allows.
func TestBacklogWithoutSysctls(t *testing.T) {
	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	address := fmt.Sprintf("127.0.0.1:%d", port)
	config := filepath.Join(dir, "credproxy.yaml")
	write(t, config, fmt.Sprintf(`admin: {listen: "", control: ""}
databases:
  - name: orders
    engine: postgres
    host: 127.0.0.1
    listen: [%q, "unix:%s/s/socket"]
    credentials: {file: {path: %[2]s/none.json}}
`, address, dir))
	const script = `mount -t proc -o subset=pid proc /proc && ! test -e /proc/sys && exec "$0" run -c "$1"`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", script, binary, config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kernel := kernelLimit(t)
	for _, listener := range []string{address, filepath.Join(dir, "s")} {
		if got := backlog(t, listener); got != kernel {
			t.Errorf("%s clients may wait at %s, the kernel allows %s", got, listener, kernel)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if t.Failed() {
		t.Log(log.String())
	}
}

func kernelLimit(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// backlog waits for a listener, by its address or by the beginning of its path, and returns
// how many connections the kernel queues for it. A unix socket shows the name it was bound to.
func backlog(t *testing.T, listener string) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := run(t, "ss", "--listening", "--numeric", "--tcp", "--unix", "--no-header")
		if err != nil {
			t.Fatal(out, err)
		}
		for line := range strings.Lines(out) {
			if columns := strings.Fields(line); len(columns) > 4 && strings.HasPrefix(columns[4], listener) {
				return columns[3]
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens at %s:\n%s", listener, out)
		}
	}
}
