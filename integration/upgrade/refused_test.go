package upgrade_test

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script is a program in place of credproxy's.
func script(text string) func(path string) error {
	return func(path string) error { return os.WriteFile(path, []byte(text), 0o755) }
}

// TestNewProcessDoesNotStart has the program be of no use in each way: the old process goes on,
// and the command and the log say why.
func TestNewProcessDoesNotStart(t *testing.T) {
	s := newStand(t)
	before := s.connect()
	for _, test := range []struct {
		name  string
		place func(path string) error
		want  string
		args  []string
	}{
		{"exits", script("#!/bin/sh\nexit 1\n"), "the new process ended before it was ready; the log has what it said", nil},
		{"hangs", script("#!/bin/sh\nexec sleep 1000\n"), "it was not ready within 1s, and did not say why", []string{"--timeout=1s"}},
		{"no executable", script("nonsense"), "exec format error", nil},
		{"may not be executed", func(path string) error { return os.WriteFile(path, nil, 0o644) }, "permission denied", nil},
		{"missing", func(path string) error { return os.Symlink("/nonexistent", path) }, "no such file or directory", nil},
		// It says that it is ready, and ends when it is to accept.
		{"crashes soon", script("#!/bin/bash\nexec python3 -c 'import socket\ns = socket.socket(fileno=3)\ns.send(b\"ready\")\ns.recv(100)\n'\n"), "the new process ended soon after it had begun to accept", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.place(test.place)
			if said := s.refused(test.args...); !strings.Contains(said, test.want) {
				t.Errorf("%s, want %q", said, test.want)
			}
			s.unchanged(t)
		})
	}
	var n int
	must(t, before.QueryRow(t.Context(), "SELECT 1").Scan(&n))
	s.install("v1.1.0")
	s.upgrade()
	must(t, before.QueryRow(t.Context(), "SELECT 1").Scan(&n))
}

// unchanged holds that the first process serves as before, alone.
func (s *stand) unchanged(t *testing.T) {
	t.Helper()
	if st := s.status(); st.PID != s.pids[0] || !st.Ready || len(st.Predecessors) > 0 {
		t.Errorf("%+v", st)
	}
	s.noneLeft(s.pids[0])
	must(t, s.connect().Close(t.Context()))
	must(t, s.connectMySQL().Close())
	for _, path := range []string{".s.PGSQL.5432", "control.sock"} {
		if info, err := os.Stat(s.dir + "/" + path); err != nil || info.Mode().Type() != fs.ModeSocket {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// TestConfigurationOfTheNewProcess has the configuration on the disk be of no use to the new process,
// which says why.
func TestConfigurationOfTheNewProcess(t *testing.T) {
	s := newStand(t)
	good, err := os.ReadFile(s.config)
	must(t, err)
	s.install("v1.1.0")
	for name, test := range map[string]struct{ from, to, want string }{
		"a mistake":         {"databases:", "databasses:", "databasses"},
		"a missing secret":  {"prod/pg", "prod/none", "pg: no credential yet: not_found"},
		"a port in use":     {`["127.0.0.1:0", `, fmt.Sprintf(`["127.0.0.1:%d", `, s.pg.Port), "the port is in use"},
		"a wrong authority": {s.pg.CAFile, s.my.CAFile, "pg: "},
	} {
		t.Run(name, func(t *testing.T) {
			// The running process would take a new file as its own.
			s.place(script("#!/bin/bash\nexec -a " + s.program + " " + builds["v1.1.0"] + " \"${@/" + strings.ReplaceAll(s.config, "/", `\/`) + "/" + s.dir + "\\/bad.yaml}\"\n"))
			must(t, os.WriteFile(s.dir+"/bad.yaml", []byte(strings.Replace(string(good), test.from, test.to, 1)), 0o600))
			if said := s.refused("--timeout=6s"); !strings.Contains(said, test.want) {
				t.Errorf("%s, want %q", said, test.want)
			}
			s.unchanged(t)
		})
	}
}

// TestUpgradeTwiceAtOnce asks a second time while a new process has not come up.
func TestUpgradeTwiceAtOnce(t *testing.T) {
	s := newStand(t)
	s.place(script("#!/bin/sh\nexec sleep 1000\n"))
	first := make(chan string, 1)
	go func() { first <- s.refused("--timeout=6s") }()
	s.proxy.AwaitLog(t, "upgrade: a new process starts")
	if said, status := s.ask("upgrade"); status != 1 || !strings.Contains(said, "an upgrade is under way already") {
		t.Errorf("status %d: %s", status, said)
	}
	if said := <-first; !strings.Contains(said, "it was not ready within 6s") {
		t.Error(said)
	}
	s.unchanged(t)
}

// TestUpgradeBySignal has SIGUSR2 do it.
func TestUpgradeBySignal(t *testing.T) {
	s := newStand(t)
	s.install("v1.1.0")
	s.proxy.Signal(syscall.SIGUSR2)
	s.proxy.AwaitLog(t, "upgrade: this process serves now")
	for _, pid := range s.alive() {
		if !slices.Contains(s.pids, pid) {
			s.pids = append(s.pids, pid)
		}
	}
	await(t, "new process", func() bool { code, _, err := s.proxy.Get("/readiness"); return err == nil && code == 200 })
	if st := s.status(); st.Version != "v1.1.0" || len(s.pids) != 2 || st.PID != s.pids[1] {
		t.Errorf("%+v, processes %v", st, s.pids)
	}
}

// TestUpgradeTimeout has the sessions of an old process end when their time is over.
func TestUpgradeTimeout(t *testing.T) {
	s := newStand(t, "shutdown: {upgrade_timeout: 3s}")
	old := s.connect()
	s.install("v1.1.0")
	s.upgrade()
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := old.Exec(t.Context(), "SELECT 1"); err != nil {
				ended <- err
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	select {
	case err := <-ended:
		if !strings.Contains(err.Error(), "57P01") {
			t.Errorf("the session ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the session goes on")
	}
	await(t, "end of the old process", func() bool { return slices.Equal(s.alive(), s.pids[1:]) })
	s.proxy.AwaitLog(t, "an older process has ended")
}

// TestStopAfterUpgrade has the old process end with the new one when all are told to, as systemd
// does, and sessions have the time of a drain.
func TestStopAfterUpgrade(t *testing.T) {
	s := newStand(t, "shutdown: {drain_timeout: 1s}")
	old := s.connect()
	s.install("v1.1.0")
	s.upgrade()
	for _, pid := range s.pids {
		must(t, syscall.Kill(pid, syscall.SIGTERM))
	}
	await(t, "end of the session", func() bool { _, err := old.Exec(t.Context(), "SELECT 1"); return err != nil })
	await(t, "end of both", func() bool { return len(s.alive()) == 0 })
}

// TestUpgradeWhileDraining asks a process that is shutting down.
func TestUpgradeWhileDraining(t *testing.T) {
	s := newStand(t, "shutdown: {drain_timeout: 3s}")
	_ = s.connect()
	s.install("v1.1.0")
	s.proxy.Signal(syscall.SIGTERM)
	s.proxy.AwaitLog(t, "shutting down")
	if said, status := s.ask("upgrade"); status != 1 || !strings.Contains(said, "shutting down") {
		t.Errorf("status %d: %s", status, said)
	}
	await(t, "end", func() bool { return len(s.alive()) == 0 })
}

// TestMetricsAfterUpgrade has the new process show the old one's metrics, labelled apart.
func TestMetricsAfterUpgrade(t *testing.T) {
	s := newStand(t)
	_ = s.connect()
	s.install("v1.1.0")
	s.upgrade()
	_ = s.connect()
	_ = s.connect()
	for labels, want := range map[string]float64{`predecessor="1"`: 1, "": 3} {
		got, err := s.proxy.Metric("credproxy_connections_active", `database="pg"`, labels)
		if err != nil || got != want {
			t.Errorf("%v sessions with %q, want %v: %v", got, labels, want, err)
		}
	}
	if _, text, err := s.proxy.Get("/metrics"); err != nil || strings.Contains(text, "credproxy_database_ready{database=\"pg\",predecessor") {
		t.Errorf("the old process says whether the database is ready: %v", err)
	}
	if said, status := s.ask("status"); status != 0 || !strings.Contains(said, fmt.Sprintf("process %d (v1.0.0), from before an upgrade, keeps its sessions (1)", s.pids[0])) {
		t.Errorf("status %d: %s", status, said)
	}
}

// TestNobodyToUpgrade asks where nobody answers.
func TestNobodyToUpgrade(t *testing.T) {
	s := newStand(t)
	s.env = append(s.env, "CREDPROXY_ADMIN_CONTROL=unix:"+s.dir+"/none.sock")
	s.proxy.Signal(syscall.SIGTERM)
	await(t, "end", func() bool { return len(s.alive()) == 0 })
	if said, status := s.ask("upgrade"); status != 3 || !strings.Contains(said, "only restarted") {
		t.Errorf("status %d: %s", status, said)
	}
}
