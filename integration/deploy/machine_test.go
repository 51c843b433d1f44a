package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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
	cgroup, err := newCgroup(t)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	// A cgroup namespace shows the cgroup that its maker is in, hence unshare.
	cmd := exec.Command("unshare", "--cgroup", "sh", filepath.Join(root, "integration/deploy/testdata/systemd.sh"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		UseCgroupFD: true, CgroupFD: int(cgroup.Fd()),
		Pdeathsig: syscall.SIGKILL, // and with the first process end all
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("namespaces: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	said := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("systemd said:\n%s", said())
		}
		_ = log.Close()
	})
	pid := strconv.Itoa(cmd.Process.Pid)
	m := &machine{pid: pid, root: filepath.Join("/proc", pid, "root")}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		// Before that systemctl would speak with the systemd of this machine.
		if comm, _ := os.ReadFile(filepath.Join("/proc", pid, "comm")); string(comm) == "systemd\n" {
			if state, _ := m.run(t, "systemctl", "is-system-running"); state == "running" {
				return m, nil
			}
		}
		select {
		case <-ended:
			return nil, errors.New(said())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("systemd does not get to its target")
		}
	}
}

// newCgroup makes a cgroup that is removed at the test's end with all below it.
func newCgroup(t *testing.T) (*os.File, error) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	hierarchy := ""
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			hierarchy = f[1]
			break
		}
	}
	if hierarchy == "" {
		return nil, errors.New("no cgroup2 is mounted")
	}
	dir, err := os.MkdirTemp(hierarchy, "credproxy-test-")
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		var err error
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if err = removeCgroup(dir); err == nil {
				return
			}
		}
		t.Error(err)
	})
	f, err := os.Open(dir)
	if err == nil {
		t.Cleanup(func() { _ = f.Close() })
	}
	return f, err
}

// removeCgroup removes folders only: the files in them are the kernel's.
func removeCgroup(dir string) error {
	below, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, d := range below {
		if d.IsDir() {
			err = errors.Join(err, removeCgroup(filepath.Join(dir, d.Name())))
		}
	}
	return errors.Join(err, syscall.Rmdir(dir))
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
