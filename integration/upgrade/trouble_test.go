package upgrade_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDatabaseThatIsDown upgrades while a database is down that has worked before, of which nobody has
// noticed it.
func TestDatabaseThatIsDown(t *testing.T) {
	s := startStand(t, func(s *stand) {
		ca, err := os.ReadFile(s.pg.CAFile) // which goes with the server
		must(t, err)
		must(t, os.WriteFile(s.dir+"/ca.crt", ca, 0o644))
		s.configure(strings.ReplaceAll(s.databases(), s.pg.CAFile, s.dir+"/ca.crt"))
	})
	must(t, s.pg.Kill())
	s.install("v1.1.0")
	s.upgrade()
	if st := s.status(); st.Version != "v1.1.0" {
		t.Errorf("%+v", st)
	}
	must(t, s.connectMySQL().Close())
}

// TestDatabaseThatIsFull has the new process not take over without the credential of a database whose
// sessions are as many as there may be: that is no trouble of the new one's.
func TestDatabaseThatIsFull(t *testing.T) {
	s := startStand(t, func(s *stand) { s.configure(s.databases("limits: {max_connections: 1}")) })
	_ = s.connect()
	good, err := os.ReadFile(s.config)
	must(t, err)
	s.place(script("#!/bin/bash\nexec -a " + s.program + " " + builds["v1.1.0"] + " \"${@/" + strings.ReplaceAll(s.config, "/", `\/`) + "/" + s.dir + "\\/bad.yaml}\"\n"))
	must(t, os.WriteFile(s.dir+"/bad.yaml", []byte(strings.Replace(string(good), "prod/pg", "prod/none", 1)), 0o600))
	if said := s.refused("--timeout=3s"); !strings.Contains(said, "not ready within 3s: pg: no credential yet") {
		t.Error(said)
	}
}

// TestReadinessAfterUpgrade has a database refuse its credential before an upgrade and after: the new
// process is ready for the others as the old one was.
func TestReadinessAfterUpgrade(t *testing.T) {
	s := startStand(t, func(s *stand) { s.configure(s.databases(), "admin: {readiness: serving, listen: 127.0.0.1:0}") })
	await(t, "readiness", func() bool { code, _, err := s.proxy.Get("/readiness"); return err == nil && code == 200 })
	must(t, s.pg.SetPassword(t.Context(), "app", "another-1"))
	s.upgrade()
	if code, text, err := s.proxy.Get("/readiness"); err != nil || code != 200 {
		t.Errorf("%d %s: %v", code, text, err)
	}
}

// TestNothingToServe upgrades where discovery has found no database.
func TestNothingToServe(t *testing.T) {
	s := newStand(t)
	must(t, os.WriteFile(s.config, []byte("discover: {interval: 24h}\n"), 0o600))
	s.proxy.Signal(syscall.SIGHUP)
	await(t, "status without databases", func() bool { return len(s.status().Databases) == 0 })
	s.upgrade()
	if st := s.status(); st.PID != s.pids[1] {
		t.Errorf("%+v", st)
	}
}

// TestShutdownReachesAll has the command for the end reach the processes from before an upgrade.
func TestShutdownReachesAll(t *testing.T) {
	s := newStand(t, "shutdown: {drain_timeout: 1s}")
	old := s.connect()
	s.upgrade()
	s.upgrade()
	if said, status := s.ask("shutdown"); status != 0 {
		t.Errorf("status %d: %s", status, said)
	}
	var err error
	await(t, "end of the session", func() bool { _, err = old.Exec(t.Context(), "SELECT 1"); return err != nil })
	if !strings.Contains(err.Error(), "57P01") {
		t.Errorf("the session ends with %v", err)
	}
	await(t, "end of all", func() bool { return len(s.alive()) == 0 })
}

// TestOrphans has the process that serves die: the older ones, which nobody reaches any more, drain, and
// soon where they are told to, since systemd starts another after them.
func TestOrphans(t *testing.T) {
	s := newStand(t, "shutdown: {drain_timeout: 60s}")
	old := s.connect()
	s.upgrade()
	must(t, syscall.Kill(s.pids[1], syscall.SIGKILL))
	reap(t, s.pids[1])
	s.proxy.AwaitLog(t, `"drain_timeout":"1m0s"`)
	must(t, old.Ping(t.Context()))
	s.proxy.Signal(syscall.SIGTERM)
	await(t, "end of the session, in less than 30 s", func() bool { _, err := old.Exec(t.Context(), "SELECT 1"); return err != nil })
	await(t, "end of all", func() bool { return len(s.alive()) == 0 })
}

// TestHungPredecessor has an older process hang: cancel requests for sessions of another are not held up.
func TestHungPredecessor(t *testing.T) {
	s := newStand(t)
	_ = s.connect()
	s.upgrade()
	younger := s.connect()
	s.upgrade()
	must(t, syscall.Kill(s.pids[0], syscall.SIGSTOP))
	t.Cleanup(func() { _ = syscall.Kill(s.pids[0], syscall.SIGCONT) })
	began := time.Now()
	s.cancels(younger)
	if took := time.Since(began); took > 1900*time.Millisecond { // what it costs to wait for the other
		t.Errorf("a cancel took %s", took)
	}
}
