// Package deploy_test holds what deploy/ and the Dockerfile hand out against the
// tools and the binary that they are for: the image's files in a chroot, the
// systemd unit under systemd's own checks and under a systemd that is booted for it, the
// install script in a folder.
//
// It needs root (chroot, read-only mounts), Debian's systemd, and what setup.sh fetches.
package deploy_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

var (
	root   string // of the checkout
	binary string // credproxy, built as for a release
)

func TestMain(m *testing.M) {
	_, here, _, _ := runtime.Caller(0)
	root = filepath.Join(filepath.Dir(here), "..", "..")
	dir, err := os.MkdirTemp("", "credproxy-deploy")
	code := 1
	if err == nil {
		binary = filepath.Join(dir, "credproxy")
		err = build(context.Background(), binary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// build makes the binary as the Makefile and the Dockerfile do.
func build(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=test", "-o", path, "./cmd/credproxy")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build credproxy: %w\n%s", err, out)
	}
	return nil
}

// run runs a tool and returns what it said.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
