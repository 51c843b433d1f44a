// Package sidecar builds and runs the credproxy binary for tests and the demo, as
// a user would: with a configuration file or arguments, an environment, and
// signals.
//
// A credproxy that was started stops with the process that started it. The
// package reads what credproxy says on its standard error and its admin server,
// and nothing else of it.
package sidecar

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds the wait for listeners and for a stop.
const startTimeout = 30 * time.Second

// Build builds credproxy with the race detector into dir and returns its path.
func Build(ctx context.Context, dir string) (string, error) { return build(ctx, dir, "credproxy") }

// BuildRotation builds credproxy-rotation, the function of Lambda, likewise.
func BuildRotation(ctx context.Context, dir string) (string, error) {
	return build(ctx, dir, "credproxy-rotation")
}

// BuildVersion builds a credproxy that calls itself by a version, likewise.
func BuildVersion(ctx context.Context, dir, version string) (string, error) {
	return build(ctx, dir, "credproxy", "-ldflags=-X main.version="+version)
}

func build(ctx context.Context, dir, name string, flags ...string) (string, error) {
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..")
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-race", "-o", path}, flags...), "./cmd/"+name)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// awaitTimeout bounds Await: it is longer than what is waited for takes on a busy machine.
const awaitTimeout = 90 * time.Second

// Await waits for a condition, which it looks at every 5 ms. The test fails if that takes
// too long; what says what was missing.
func Await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(awaitTimeout); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in %s", what, awaitTimeout)
		}
	}
}

// Options say how to run credproxy.
type Options struct {
	Binary string
	Config string   // YAML, written to a file and passed with -c; empty: none
	Args   []string // after "run"
	Env    []string // all of its environment but PATH
	Debug  bool     // log level debug
	// Stdout gets what credproxy writes to standard output, until it has ended.
	Stdout io.Writer
	// Sockets are passed as systemd passes sockets to a service.
	Sockets []Socket
	// KeepLog is how many bytes of the log's end to keep, about; 0 means all.
	// A run of hours needs it.
	KeepLog int
}

// Proxy is a running credproxy.
type Proxy struct {
	cmd     *exec.Cmd
	dir     string
	keepLog int
	stopped chan struct{} // closed when the process has ended and its log is read

	mu    sync.Mutex
	log   strings.Builder
	addrs map[string][]string // of listeners, by database
	admin string
	grown chan struct{} // closed and replaced at each line
}

// Start runs credproxy. It does not wait for anything: see Addr and Ready.
func Start(o Options) (*Proxy, error) {
	dir, err := os.MkdirTemp("", "credproxy-run")
	if err != nil {
		return nil, err
	}
	args := []string{"run", "--log-format=json"}
	if o.Debug {
		args = append(args, "--debug")
	}
	if o.Config == "" || !strings.Contains(o.Config, "admin:") {
		args = append(args, "--admin-listen=127.0.0.1:0")
	}
	if o.Config != "" {
		file := filepath.Join(dir, "credproxy.yaml")
		if err := os.WriteFile(file, []byte(o.Config), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-c", file)
	}
	p := &Proxy{dir: dir, keepLog: o.KeepLog, stopped: make(chan struct{}), addrs: map[string][]string{}, grown: make(chan struct{})}
	p.cmd = exec.Command(o.Binary, append(args, o.Args...)...)
	if len(o.Sockets) > 0 {
		o.Env = append(o.Env, p.activate(o.Sockets)...)
	}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=halt_on_error=0 atexit_sleep_ms=10"}, o.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stdout = o.Stdout
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	go p.read(stderr)
	return p, nil
}

// read collects the log until the process ends.
func (p *Proxy) read(stderr io.Reader) {
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		p.line(line)
		if err != nil {
			break
		}
	}
	_ = p.cmd.Wait()
	close(p.stopped)
}

// Socket is one that systemd would pass.
type Socket struct {
	Name string
	File *os.File
}

// activate passes sockets (sd_listen_fds(3)). Only a process itself knows its id in
// time, hence the shell.
func (p *Proxy) activate(sockets []Socket) (env []string) {
	var names []string
	for _, s := range sockets {
		names = append(names, s.Name)
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, s.File)
	}
	p.cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, p.cmd.Args...)
	p.cmd.Path = "/bin/sh"
	return []string{fmt.Sprintf("LISTEN_FDS=%d", len(sockets)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}
}

func (p *Proxy) line(line string) {
	var entry struct{ Msg, Database, Address string }
	_ = json.Unmarshal([]byte(line), &entry) // what is not JSON is a message for people
	p.mu.Lock()
	defer p.mu.Unlock()
	if log := p.log.String(); p.keepLog > 0 && len(log) > 2*p.keepLog {
		p.log.Reset()
		p.log.WriteString(log[len(log)-p.keepLog:])
	}
	p.log.WriteString(line)
	switch entry.Msg {
	case "listening":
		p.addrs[entry.Database] = append(p.addrs[entry.Database], entry.Address)
	case "admin server listens":
		p.admin = entry.Address
	}
	close(p.grown)
	p.grown = make(chan struct{})
}

// Run starts credproxy for a test, which stops it at its end and then checks that
// it ended in order, that no data race was found and, with secrets given, that
// none of them is in the log.
func Run(t testing.TB, o Options, secrets ...string) *Proxy {
	t.Helper()
	p, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		code := p.Stop()
		log := p.Log()
		if code != 0 {
			t.Errorf("credproxy ended with status %d", code)
		}
		if strings.Contains(log, "DATA RACE") {
			t.Error("credproxy has a data race")
		}
		for _, s := range secrets {
			if strings.Contains(log, s) {
				t.Errorf("a secret is in the log of credproxy: %s", s)
			}
		}
		if t.Failed() {
			t.Logf("log of credproxy:\n%s", log)
		}
	})
	return p
}

// await waits until cond, called with the lock held, is true.
func (p *Proxy) await(cond func() bool, what string) error {
	deadline := time.After(startTimeout)
	for {
		p.mu.Lock()
		ok, grown := cond(), p.grown
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-grown:
		case <-p.stopped:
			return fmt.Errorf("credproxy ended before %s:\n%s", what, p.Log())
		case <-deadline:
			return fmt.Errorf("credproxy did not get to %s:\n%s", what, p.Log())
		}
	}
}

// Addrs waits for n listeners of a database and returns their addresses, in the
// order of the configuration.
func (p *Proxy) Addrs(database string, n int) ([]string, error) {
	err := p.await(func() bool { return len(p.addrs[database]) >= n }, "listen for "+database)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.addrs[database]...), nil
}

// Addr is the first of a database's addresses.
func (p *Proxy) Addr(t testing.TB, database string) string {
	t.Helper()
	addrs, err := p.Addrs(database, 1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

// AwaitLog waits until the log contains s.
func (p *Proxy) AwaitLog(t testing.TB, s string) {
	t.Helper()
	if err := p.await(func() bool { return strings.Contains(p.log.String(), s) }, "say "+s); err != nil {
		t.Fatal(err)
	}
}

// Log is what credproxy has said so far.
func (p *Proxy) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// PID is the process id.
func (p *Proxy) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Proxy) Signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// Wait waits for the process to end and returns its exit status, -1 if it did
// not end in time or was killed.
func (p *Proxy) Wait() int {
	select {
	case <-p.stopped:
	case <-time.After(startTimeout):
		p.Signal(syscall.SIGQUIT) // its goroutines go to the log
		select {
		case <-p.stopped:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.stopped
		}
	}
	_ = os.RemoveAll(p.dir)
	return p.cmd.ProcessState.ExitCode()
}

// Stop ends credproxy as an orchestrator does and returns its exit status.
func (p *Proxy) Stop() int {
	p.Signal(syscall.SIGTERM)
	return p.Wait()
}

// Get asks the admin server and returns status and body.
func (p *Proxy) Get(path string) (int, string, error) { return p.ask(http.MethodGet, path, "") }

// Post sends the admin server JSON and returns status and body.
func (p *Proxy) Post(path, body string) (int, string, error) {
	return p.ask(http.MethodPost, path, body)
}

// Admin waits for the admin server and returns its address.
func (p *Proxy) Admin() (string, error) {
	err := p.await(func() bool { return p.admin != "" }, "start the admin server")
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.admin, err
}

func (p *Proxy) ask(method, path, body string) (int, string, error) {
	admin, err := p.Admin()
	if err != nil {
		return 0, "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+admin+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, string(answer), err
}

// Metric returns the sum of all series of a metric whose labels contain all of
// labels, such as `result="ok"`.
func (p *Proxy) Metric(name string, labels ...string) (float64, error) {
	code, body, err := p.Get("/metrics")
	if err != nil || code != http.StatusOK {
		return 0, fmt.Errorf("metrics: status %d, %w", code, err)
	}
	sum, found := 0.0, false
	for line := range strings.Lines(body) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		base, rest, _ := strings.Cut(series, "{")
		if !ok || base != name || !containsAll(rest, labels) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", series, err)
		}
		sum, found = sum+v, true
	}
	if !found && len(labels) == 0 {
		return 0, errors.New("no metric " + name)
	}
	return sum, nil
}

func containsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}
