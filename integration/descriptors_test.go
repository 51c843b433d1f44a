package integration_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// limitFiles sets how many files a process may have open, unless to is nil, and
// returns what the limit was.
func limitFiles(t *testing.T, pid int, to *unix.Rlimit) (was unix.Rlimit) {
	t.Helper()
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, to, &was); err != nil {
		t.Fatal(err)
	}
	return was
}

// leaveDescriptors has a process open n files more, and none beyond.
func leaveDescriptors(t *testing.T, pid, n int) {
	t.Helper()
	limit := limitFiles(t, pid, nil)
	for limit.Cur = 0; ; limit.Cur++ {
		if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, limit.Cur)); err == nil {
			continue
		}
		if n--; n < 0 { // this number is free, and one too many
			break
		}
	}
	limitFiles(t, pid, &limit)
}

// countFiles returns how many files a process has open.
func countFiles(t *testing.T, pid int) int {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// TestOutOfDescriptors lets credproxy open no more files. A client that gets as far as
// that hears why, the next one waits to be accepted, sessions go on, the database is
// not taken for unreachable, and all get in when the limit is raised.
func TestOutOfDescriptors(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("main", arn, "tls: "+tlsYAML("", pg.CAFile))}, appPassword)
	addr := w.Addr(t, "main")
	session := connect(t, addr, "postgres")
	sidecar.Await(t, "readiness", func() bool { ready, _ := w.ready(t); return ready })

	was, open := limitFiles(t, w.PID(), nil), countFiles(t, w.PID())
	refusals := 0 // in a row: what is just being closed may let one in
	sidecar.Await(t, "more refusals than open the breaker", func() bool {
		leaveDescriptors(t, w.PID(), 1)
		refusal, is := errors.AsType[*pgconn.PgError](w.logIn(t.Context(), addr, "postgres"))
		if !is {
			refusals = 0
			return false
		}
		w.ours(t, refusal, "53300", "too many connections: credproxy may open no more files")
		refusals++
		return refusals > 5
	})
	w.failure(t, "main", `"result":"too_many"`, "too many open files")
	sidecar.Await(t, "the refused clients' descriptors", func() bool { return countFiles(t, w.PID()) <= open }) // else one of them serves the next client
	leaveDescriptors(t, w.PID(), 0)
	waits := make(chan error, 1)
	go func() { waits <- w.logIn(t.Context(), addr, "postgres") }()
	sidecar.Await(t, "a failed accept", func() bool { return w.logged("main", "accept failed; trying again", "too many open files") })
	if got := ask(t, session, "SELECT 1"); got != "1" {
		t.Errorf("the session answers %s", got)
	}
	limitFiles(t, w.PID(), &was)
	select {
	case err := <-waits:
		if err != nil {
			t.Errorf("the client that waited: %v", err)
		}
	case <-time.After(repairTime):
		t.Error("the client that waited gets no answer")
	}
	w.recovers(t, "main", "postgres")
	awaitMetric(t, w.Proxy, 0, "credproxy_database_breaker_open")
	if w.logged("main", "the database cannot be reached") {
		t.Error("the database was taken for unreachable")
	}
}
