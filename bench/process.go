package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/credproxy/credproxy/integration/servers"
)

// peers is where integration/setup.sh bench puts the other proxies.
const peers = "/var/cache/credproxy-test/peers/usr"

// daemon is a proxy that has been started, credproxy or another.
type daemon struct {
	cmd *exec.Cmd
	dir string // its own, with its configuration and its log
}

// startDaemon writes config into a folder of its own and runs a program there as
// nobody (pgbouncer refuses to be root), until it listens on addr. "CONFIG" in args
// becomes the path of the configuration.
func startDaemon(config, addr, program string, args ...string) (*daemon, error) {
	dir, err := os.MkdirTemp("/tmp", "credproxy-bench-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.yaml")
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "CONFIG", file)
	}
	d := &daemon{dir: dir, cmd: exec.Command(program, args...)}
	d.cmd.Dir = dir
	d.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "DB_USER=app", "DB_PASSWORD=" + password}
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err == nil {
		defer log.Close()
		d.cmd.Stdout, d.cmd.Stderr = log, log
		err = errors.Join(os.WriteFile(file, []byte(config), 0o644), os.Chmod(dir, 0o755))
	}
	if nobody := nobody(); nobody != nil {
		d.cmd.SysProcAttr.Credential = nobody
		err = errors.Join(err, os.Chown(dir, int(nobody.Uid), int(nobody.Gid)))
	}
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return d, c.Close()
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(log.Name())
			d.stop()
			return nil, fmt.Errorf("%s does not listen on %s: %s", program, addr, said)
		}
	}
}

func (d *daemon) pid() int { return d.cmd.Process.Pid }

func (d *daemon) stop() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
	_ = os.RemoveAll(d.dir)
}

// startCredproxy starts one with the defaults of its configuration but for the
// number of connections, and for the log, which the others write no line per
// session to either. Its credential comes from the environment: where it comes from
// plays no part once it is cached. With reuse it keeps as many server sessions as the
// other proxies that do, which its default would not.
func startCredproxy(binary, engine string, port int, caFile string, reuse bool) (*daemon, string, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, "", err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	pool := "{mode: off}"
	if reuse {
		pool = fmt.Sprintf("{mode: session, max_idle: %d}", keptSessions)
	}
	d, err := startDaemon(fmt.Sprintf(`admin: {listen: ""}
log: {level: warn}
databases:
  - name: main
    engine: %s
    listen: %s
    host: 127.0.0.1
    port: %d
    tls: {ca_file: %q}
    credentials: {env: {username: DB_USER, password: DB_PASSWORD}}
    limits: {max_connections: 20000}
    pool: %s
`, engine, addr, port, caFile, pool), addr, binary, "run", "-c", "CONFIG")
	return d, addr, err
}

// keptSessions is how many server sessions a proxy keeps for the next client, if it does.
const keptSessions = 64

// credproxyReuse is the contender that gives server sessions on to the next client.
const credproxyReuse = "credproxy reuse"

// nobody is whom daemons run as when we are root.
func nobody() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// freeAddr names a free port of loopback.
func freeAddr() (string, error) {
	port, err := servers.FreePort()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

// output runs a client's program and returns what it says.
func output(ctx context.Context, env []string, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// resident is the memory of a process, in bytes.
func resident(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(kb)[0], 64)
			return n * 1024
		}
	}
	return 0
}

// descriptors is the number of files that a process has open.
func descriptors(pid int) float64 {
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return float64(len(files))
}

// pidFrom reads the process id that a server has written into a file.
func pidFrom(file string) int {
	b, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(b), "\n")
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	return pid
}
