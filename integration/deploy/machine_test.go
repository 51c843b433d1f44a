package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine is a systemd that believes it has booted a machine (testdata/systemd.sh).
type machine struct {
	pid  string // of systemd
	root string // its files, seen from here
}

// boot starts a machine for a test. It says why if none can be started here.
func boot(t *testing.T) (*machine, error) {
	t.Helper()
	var said strings.Builder
	cmd := exec.Command(filepath.Join(root, "integration/deploy/testdata/systemd.sh"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stderr = &said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &machine{}
	if _, err := fmt.Fscanln(stdout, &m.pid); err != nil {
		_ = errors.Join(stdin.Close(), cmd.Wait())
		return nil, errors.New(strings.TrimSpace(said.String()))
	}
	t.Cleanup(func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Errorf("the machine ended: %v\n%s", err, &said)
		}
	})
	m.root = filepath.Join("/proc", m.pid, "root")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if state, err := m.run(t, "systemctl", "is-system-running"); err == nil {
			return m, nil
		} else if time.Now().After(deadline) {
			t.Fatalf("systemd is %s", state)
		}
	}
}

// run runs a program on the machine and returns what it said.
func (m *machine) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // also when the test is over
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target=" + m.pid, "--mount", "--pid", "--wd=/", "--"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// must is run of what must succeed.
func (m *machine) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.run(t, args...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return out
}

// write makes a file of the machine.
func (m *machine) write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	path = filepath.Join(m.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}
