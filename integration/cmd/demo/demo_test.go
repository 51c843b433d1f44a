package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/integration/sidecar"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The demo in short: what it shows happens, and nothing is left behind.
func TestDemo(t *testing.T) {
	b := build(t)
	leavesNothing(t)
	var out bytes.Buffer
	short := plan{rotations: 2, gap: 300 * time.Millisecond, window: 500 * time.Millisecond, load: 8 * time.Second, samples: 3}
	if err := run(t.Context(), &printer{to: &out}, b, short); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for line := range strings.Lines(out.String()) {
		if utf8.RuneCountInString(line) > 120 {
			t.Errorf("too wide for a terminal: %s", line)
		}
	}
	for _, want := range []string{
		"app          | t   | TLSv1.3",
		"| Ssl_version   | TLSv1.3 |",
		"PostgreSQL 15 ", "PostgreSQL 18 ", "MySQL 9.7 ", "MariaDB 10.11",
		"there is no app_clone yet",
		"the function made app_clone, with the rights of app; AWSCURRENT, app, still works",
		"app has a new password and equal rights; AWSCURRENT, app_clone, still works",
		"app has two passwords: the new one, and AWSCURRENT's, which still works",
		"app has a new password; AWSCURRENT, app, does not work until finishSecret",
		"2 finishSecret",
		"password authentication failed for user",
		"Access denied for user",
		"Through credproxy no connection and no query failed.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not shown: %s\n%s", want, out.String())
		}
	}
	if !regexp.MustCompile(`its logins that were refused +0 +0 +0 +0\n`).MatchString(out.String()) {
		t.Errorf("a login of the rotation function was refused\n%s", out.String())
	}
}

// build builds what the demo shows.
func build(t *testing.T) (b binaries) {
	t.Helper()
	var err, errRotation error
	dir := t.TempDir()
	b.credproxy, err = sidecar.Build(t.Context(), dir)
	b.rotation, errRotation = sidecar.BuildRotation(t.Context(), dir)
	if err = errors.Join(err, errRotation); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFailureAndInterruptLeaveNothing(t *testing.T) {
	b := build(t)
	for name, b := range map[string]binaries{
		"no credproxy":         {"/nonexistent", b.rotation},
		"no rotation function": {b.credproxy, "/nonexistent"},
	} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t)
			if err := run(t.Context(), &printer{to: &bytes.Buffer{}}, b, fullPlan); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("interrupt", func(t *testing.T) {
		leavesNothing(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out := &printer{to: cancelAt{"1 setSecret", cancel}}
		if err := run(ctx, out, b, fullPlan); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

// cancelAt is an output that cancels when it is told something.
type cancelAt struct {
	text   string
	cancel func()
}

func (c cancelAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), c.text) {
		c.cancel()
	}
	return len(p), nil
}

// leavesNothing checks at the test's end that no child process and no temporary
// file is left. Servers, whose folders are elsewhere, remove them as they end.
func leavesNothing(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		tasks, err := filepath.Glob("/proc/self/task/*/children")
		if err != nil || len(tasks) == 0 {
			t.Errorf("look for children: %v", err)
		}
		for _, task := range tasks {
			children, err := os.ReadFile(task)
			if len(children) > 0 && err == nil { // a thread may have ended meanwhile
				t.Errorf("processes left behind: %s", children)
			}
		}
	})
}

func TestReadPgbench(t *testing.T) {
	const good = `pgbench (15.14 (Debian 15.14-0+deb12u1))
number of transactions actually processed: 1234
number of failed transactions: 0 (0.000%)
`
	tests := []struct {
		name, stdout, stderr string
		want                 load
	}{
		{"good", good, "", load{connections: 1, transactions: 1234, queries: 2468}},
		{"serialization failures", strings.Replace(good, "failed transactions: 0", "failed transactions: 5", 1), "",
			load{connections: 1, transactions: 1234, queries: 2468, failedTransactions: 5}},
		{"refused connection", good,
			"pgbench: error: connection to server at \"127.0.0.1\", port 1 failed: FATAL:  credproxy: no\npgbench: error: client 3 aborted while establishing connection\n",
			load{connections: 1, transactions: 1234, queries: 2468, failedConnections: 1}},
		{"broken query", good, "pgbench: error: client 1 script 0 aborted in command 1 query 0: ERROR:  no\n",
			load{connections: 1, transactions: 1234, queries: 2468, failedTransactions: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.messages = tt.stderr
			if got := readPgbench(tt.stdout, tt.stderr); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	(&printer{to: &out}).table([][]string{{"", "a", "bb"}, {"a long heading of its own"}, {"row", count(1234567), "2"}})
	const want = "       a          bb\n  a long heading of its own\n  row  1,234,567  2\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
