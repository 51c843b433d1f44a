package upgrade_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestEmergencyGoesOn upgrades while logins use the emergency credential.
func TestEmergencyGoesOn(t *testing.T) {
	const password = "planted-Emergency-1"
	s := startStand(t, func(s *stand) {
		must(t, s.pg.CreateRole(t.Context(), "emergency", password))
		file := s.dir + "/emergency.json"
		must(t, os.WriteFile(file, []byte(fmt.Sprintf(`{"username":"emergency","password":%q}`, password)), 0o600))
		s.configure(s.databases(fmt.Sprintf("break_glass: {file: %q, max_duration: 10m}", file)))
	})
	// A new process may allow less than is left.
	good, err := os.ReadFile(s.config)
	must(t, err)
	if said, status := s.ask("break-glass", "--reason", "the secret is broken"); status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	user := func() (name string) {
		must(t, s.connect().QueryRow(t.Context(), "SELECT current_user").Scan(&name))
		return name
	}
	if got := user(); got != "emergency" {
		t.Fatalf("before the upgrade it is %s", got)
	}
	must(t, os.WriteFile(s.config, []byte(strings.Replace(string(good), "max_duration: 10m", "max_duration: 5m", 1)), 0o600))
	s.install("v1.1.0")
	_ = s.connect() // so that the old process stays
	s.upgrade()
	if until := s.status().Databases[0].BreakGlass.Until; until.After(time.Now().Add(5 * time.Minute)) {
		t.Errorf("it goes on until %s", until)
	}
	if got := user(); got != "emergency" {
		t.Errorf("after the upgrade it is %s", got)
	}
	if db := s.status().Databases[0]; db.Name != "pg" || !db.BreakGlass.Active || db.BreakGlass.Reason != "the secret is broken" {
		t.Errorf("the status says %+v", db)
	}
	if said, status := s.ask("break-glass", "--end"); status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	await(t, "end in both processes", func() bool { return strings.Count(s.proxy.Log(), "break-glass has ended") == 2 })
	if got := user(); got != "app" {
		t.Errorf("after the end it is %s", got)
	}
	if strings.Contains(s.proxy.Log(), password) {
		t.Error("the emergency password is in the log")
	}
}

// TestPooledSessionsEnd has server sessions end that are kept: at once where nobody uses them, and
// those in use when their client leaves.
func TestPooledSessionsEnd(t *testing.T) {
	s := startStand(t, func(s *stand) { s.configure(s.databases("pool: {mode: session}")) })
	idle, busy := s.connect(), s.connect()
	var idlePID, busyPID int
	must(t, idle.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&idlePID))
	must(t, busy.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&busyPID))
	must(t, idle.Close(t.Context()))
	await(t, "idle session", func() bool { n, err := s.proxy.Metric("credproxy_pool_idle"); return err == nil && n == 1 })
	s.install("v1.1.0")
	s.upgrade()
	there := func(pid int) (yes bool) {
		conn := s.connect()
		must(t, conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid).Scan(&yes))
		must(t, conn.Close(t.Context()))
		return yes
	}
	await(t, "end of the idle session", func() bool { return !there(idlePID) })
	var one int
	must(t, busy.QueryRow(t.Context(), "SELECT 1").Scan(&one))
	must(t, busy.Close(t.Context()))
	await(t, "end of the other session", func() bool { return !there(busyPID) })
	await(t, "end of the old process", func() bool { return slices.Equal(s.alive(), s.pids[1:]) })
}

// TestManyPredecessors has sessions in each of several processes: the last one reaches all.
func TestManyPredecessors(t *testing.T) {
	s := newStand(t)
	sessions := []*pgx.Conn{s.connect()}
	for i := range 3 {
		s.install([]string{"v1.1.0", "v1.0.0"}[i%2])
		s.upgrade()
		sessions = append(sessions, s.connect())
	}
	var there []int
	for _, p := range s.status().Predecessors {
		there = append(there, p.PID)
	}
	if want := []int{s.pids[2], s.pids[1], s.pids[0]}; !slices.Equal(there, want) {
		t.Errorf("predecessors are %v, want %v", there, want)
	}
	for i, session := range sessions {
		s.cancels(session)
		if i < 3 {
			if n, err := s.proxy.Metric("credproxy_connections_active", `database="pg"`, fmt.Sprintf("predecessor=\"%d\"", i+1)); err != nil || n != 1 {
				t.Errorf("process %d has %v sessions: %v", i+1, n, err)
			}
		}
	}
	if n, err := s.proxy.Metric("credproxy_cancel_requests_total", `database="pg"`, `result="forwarded"`); err != nil || n != 4 {
		t.Errorf("%v cancels are counted: %v", n, err)
	}
	must(t, sessions[1].Close(t.Context()))
	await(t, "end of the second process", func() bool { return !slices.Contains(s.alive(), s.pids[1]) })
	await(t, "two predecessors", func() bool { return len(s.status().Predecessors) == 2 })
	s.cancels(sessions[0])
}

// TestPortsStay has databases that list no listener keep their ports, though the configuration has them in
// another order by the time of the upgrade.
func TestPortsStay(t *testing.T) {
	s := startStand(t, func(s *stand) {
		s.configure(s.postgres("a") + s.postgres("b") + s.postgres("pg", "listen: 127.0.0.1:0"))
	})
	listeners := func() map[string]string {
		all := map[string]string{}
		for _, db := range s.status().Databases {
			all[db.Name] = strings.Join(db.Listeners, " ")
		}
		return all
	}
	before := listeners()
	s.configure(s.postgres("b") + s.postgres("pg", "listen: 127.0.0.1:0") + s.postgres("c") + s.postgres("a"))
	await(t, "reload", func() bool { return len(listeners()["c"]) > 0 })
	s.install("v1.1.0")
	s.upgrade()
	after := listeners()
	for name, addrs := range before {
		if after[name] != addrs || addrs == "" {
			t.Errorf("%s listens on %q, before on %q", name, after[name], addrs)
		}
	}
}

// TestReloadDuringUpgrade has a reload wait for the end of an upgrade that does not get anywhere.
func TestReloadDuringUpgrade(t *testing.T) {
	s := newStand(t)
	s.place(script("#!/bin/sh\nexec sleep 1000\n"))
	first := make(chan string, 1)
	go func() { first <- s.refused("--timeout=1s") }()
	s.proxy.AwaitLog(t, "upgrade: a new process starts")
	s.configure(s.databases() + s.postgres("second", "listen: 127.0.0.1:0"))
	s.proxy.Signal(syscall.SIGHUP)
	<-first
	if _, err := s.proxy.Addrs("second", 1); err != nil {
		t.Error(err)
	}
	if st := s.status(); st.PID != s.pids[0] {
		t.Errorf("%+v", st)
	}
}

// TestBrokenDatabaseHoldsUpNothing upgrades though one database has not worked before either, and nor does it
// afterwards.
func TestBrokenDatabaseHoldsUpNothing(t *testing.T) {
	s := startStand(t, func(s *stand) {
		s.configure(s.databases()+strings.Replace(s.postgres("broken", "listen: 127.0.0.1:0"), "prod/pg", "prod/none", 1), "admin: {readiness: serving, listen: 127.0.0.1:0}")
	})
	s.install("v1.1.0")
	s.upgrade()
	if st := s.status(); st.Version != "v1.1.0" {
		t.Errorf("%+v", st)
	}
	must(t, s.connect().Close(t.Context()))
}

// TestPasswordOfTheEnvironment has the new process get the password that the old one has taken out of its
// environment.
func TestPasswordOfTheEnvironment(t *testing.T) {
	s := startStand(t, func(s *stand) {
		s.configure(strings.Replace(s.databases(), "secrets_manager: {secret_id: prod/pg}}", fmt.Sprintf("env: {username: APP_USER, password: APP_PASSWORD}}\n    host: %s\n    port: %d\n    database: postgres", s.pg.Host, s.pg.Port), 1))
		s.wrapper = s.dir + "/wrapper"
		must(t, script(fmt.Sprintf("#!/bin/sh\nAPP_USER=app APP_PASSWORD=%s exec %s \"$@\"\n", appPassword, s.program))(s.wrapper))
	})
	s.install("v1.1.0")
	s.upgrade()
	var user string
	must(t, s.connect().QueryRow(t.Context(), "SELECT current_user").Scan(&user))
	if user != "app" {
		t.Error(user)
	}
}

// TestFirstProcess asks credproxy as process 1 of a container.
func TestFirstProcess(t *testing.T) {
	s := startStand(t, func(s *stand) {
		s.configure(s.databases())
		s.wrapper = s.dir + "/container"
		must(t, script("#!/bin/sh\nexec unshare --pid --fork --kill-child --mount-proc "+s.program+" \"$@\"\n")(s.wrapper))
	})
	if said := s.refused(); !strings.Contains(said, "process 1 of a container") || !strings.Contains(said, "docs/upgrade.md") {
		t.Error(said)
	}
	if said, status := s.ask("shutdown"); status != 0 {
		t.Errorf("status %d: %s", status, said)
	}
	await(t, "end", func() bool { return len(s.alive()) == 0 })
}
