package discovery_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestTroubleChangesNothing: while AWS denies or fails a call, or a page of one, databases
// neither come nor go, however often it is asked; the status says why.
func TestTroubleChangesNothing(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	names := []string{"first", "second", "third"}
	for i, name := range names {
		s.add(name, 0, i == 0)
	}
	for i := range 100 {
		s.aws.AddDBInstance(awsstub.DBInstance{Identifier: fmt.Sprintf("other-%03d", i), Engine: "postgres", Host: "other.example", Port: 5432})
	}
	s.start(t, "")
	s.serves(t, names)
	running := newClients(t)
	for _, name := range names {
		running.begin(t, s, name, "postgres")
	}
	s.remove("first")
	s.remove("second")
	s.add("new", 0, false)
	fault := func(kind awsstub.FaultKind) awsstub.Fault { return awsstub.Fault{Kind: kind} }
	for _, tt := range []struct {
		op, reason string
		fault      awsstub.Fault
		once       bool // the first page is told
	}{
		{op: "DescribeDBClusters", reason: "access_denied", fault: fault(awsstub.AccessDenied)},
		{op: "DescribeDBInstances", reason: "access_denied", fault: fault(awsstub.AccessDenied), once: true},
		{op: "DescribeDBInstances", reason: "unavailable", fault: fault(awsstub.Throttle)},
		{op: "ListSecrets", reason: "access_denied", fault: fault(awsstub.AccessDenied)},
		{op: "ListSecrets", reason: "unavailable", fault: fault(awsstub.Unavailable)},
		{op: "ListSecrets", reason: "unavailable", fault: fault(awsstub.Drop)},
		{op: "DescribeDBClusters", reason: "unavailable", fault: fault(awsstub.ExpiredToken)},
	} {
		for range 2 { // answers in a row would be enough
			if tt.once {
				s.aws.Inject(tt.op, awsstub.Fault{Times: 1})
			}
			s.aws.Inject(tt.op, tt.fault)
			s.round(t)
			s.aws.ClearFaults()
		}
		s.serves(t, names)
		if got := s.status(t).Discovery[0]; got.Error != tt.reason || got.Answered.IsZero() || got.Databases != 3 {
			t.Errorf("%s, %s: %+v", tt.op, tt.reason, got)
		}
	}
	running.whole(t, nil)
	if n := s.logged("no whole answer of AWS", "rds:DescribeDBClusters", "not authorized"); n != 1 {
		t.Errorf("the log says %d times that DescribeDBClusters is denied", n)
	}
	s.round(t)
	s.serves(t, append(names, "new"))
	s.round(t)
	s.serves(t, []string{"third", "new"})
	if got := s.status(t).Discovery[0]; got.Error != "" || s.logged("AWS answers again") != 1 {
		t.Errorf("%+v", got)
	}
	running.whole(t, map[string]bool{"first": true, "second": true})
}

// TestStartWithoutAWS: a start without an answer serves what the file has, and nothing keeps
// credproxy from being ready but that there is nothing to serve; then it finds all.
func TestStartWithoutAWS(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	s.add("found", 0, false)
	s.aws.Inject("DescribeDBInstances", awsstub.Fault{Kind: awsstub.AccessDenied})
	s.start(t, "")
	sidecar.Await(t, "why it is not ready", func() bool {
		f := s.status(t)
		return !f.Ready && slices.Equal(f.Reasons, []string{"no database: discovery has no answer of AWS yet: access_denied"})
	})
	if status, _, err := s.Get("/readiness"); err != nil || status != 503 {
		t.Errorf("readiness: %d, %v", status, err)
	}
	s.aws.ClearFaults()
	s.serves(t, []string{"found"})
	if f := s.status(t); !f.Ready {
		t.Errorf("%+v", f)
	}
	s.remove("found")
	s.round(t)
	s.round(t)
	s.serves(t, nil)
	if f := s.status(t); !f.Ready { // as it is once each database has accepted a credential
		t.Errorf("%+v", f)
	}
}

// TestStartWhileAWSHangs: the database of the file does not wait, and the log says what is missing.
func TestStartWhileAWSHangs(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	s.add("found", 0, false)
	s.aws.CreateSecret("mine", fmt.Sprintf(`{"username": "app", "password": %q}`, planted))
	s.aws.Inject("DescribeDBClusters", awsstub.Fault{Kind: awsstub.Hang})
	began := time.Now()
	s.start(t, s.mine())
	s.serves(t, []string{"mine"})
	if took := time.Since(began); took > 8*time.Second || s.logged("without an answer") != 0 {
		t.Errorf("waited %s for what does not need AWS", took)
	}
	sidecar.Await(t, "that the log says it", func() bool { return s.logged("the start goes on without an answer", "it is being asked") == 1 })
	s.aws.ClearFaults()
	s.serves(t, []string{"mine", "found"})
	// A round that hangs does not hold up the end.
	s.aws.Inject("DescribeDBClusters", awsstub.Fault{Kind: awsstub.Hang})
	s.Signal(syscall.SIGHUP)
	calls := s.aws.Calls("DescribeDBClusters")
	sidecar.Await(t, "a call that hangs", func() bool { return s.aws.Calls("DescribeDBClusters") > calls })
	began = time.Now()
	if status := s.Stop(); status != 0 || time.Since(began) > 10*time.Second {
		t.Errorf("ended with status %d after %s", status, time.Since(began))
	}
}

// mine is a database of the file.
func (s *stand) mine(more ...string) string {
	lines := []string{"databases:", "  - name: mine", "    engine: postgres", "    host: " + s.host(), fmt.Sprintf("    port: %d", s.engines[0].port),
		fmt.Sprintf("    listen: unix:%s/mine/.s.PGSQL.5432", s.dir), fmt.Sprintf("    tls: {ca_file: %q, server_name: localhost}", s.caFile),
		"    credentials: {secrets_manager: {secret_id: mine, region: eu-west-1}}"}
	for _, line := range more {
		lines = append(lines, "    "+line)
	}
	return strings.Join(lines, "\n") + "\n"
}

// TestFileAndDiscovery: the file changes, has a mistake, and takes a name over, while databases
// come and go; sessions of what stays as it is do not notice.
func TestFileAndDiscovery(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	s.aws.CreateSecret("mine", fmt.Sprintf(`{"username": "app", "password": %q}`, planted))
	s.add("found", 0, false)
	s.start(t, s.mine()+"shutdown: {drain_timeout: 1s}\n")
	s.serves(t, []string{"mine", "found"})
	running := newClients(t)
	running.begin(t, s, "mine", "postgres")
	running.begin(t, s, "found", "postgres")

	// A mistake in the file keeps nothing from coming, and stays said.
	s.write(t, "nonsense: 1\n")
	sidecar.Await(t, "the refusal", func() bool { return s.logged("new configuration refused", "nonsense") > 0 })
	s.add("new", 0, false)
	s.round(t)
	s.serves(t, []string{"mine", "found", "new"})
	if _, body, err := s.Get("/status"); err != nil || !strings.Contains(strings.Join(strings.Fields(body), ""), `"ok":false`) {
		t.Errorf("the refusal is forgotten: %v, %.600s", err, body)
	}
	running.whole(t, nil)

	// A change of mine and of nothing else.
	s.write(t, s.mine("limits: {max_connections: 77}")+"shutdown: {drain_timeout: 1s}\n")
	sidecar.Await(t, "the new limit", func() bool {
		_, body, _ := s.Get("/status")
		return strings.Contains(body, `"limit": 77`)
	})
	s.serves(t, []string{"mine", "found", "new"})
	running.whole(t, nil)
	if s.logged("new configuration in force", `"changed":["mine"]`) != 1 || s.logged("new configuration in force", `"changed":["found`) != 0 {
		t.Error("another database has changed")
	}

	// Another login for a database that was found: its sessions go on.
	s.aws.CreateSecret("a-better-one", fmt.Sprintf(`{"username": "app", "password": %q}`, planted))
	s.aws.SetTag("found/app", ofInstance, rdsARN+"db:none")
	s.aws.SetTag("a-better-one", ofInstance, rdsARN+"db:found")
	s.round(t)
	sidecar.Await(t, "the other secret", func() bool { return s.logged("new configuration in force", `"changed":["found"]`) == 1 })
	s.serves(t, []string{"mine", "found", "new"})
	running.whole(t, nil)
	if conn, err := s.connect(t.Context(), "found", "postgres"); err != nil {
		t.Error(err)
	} else {
		conn.close()
	}

	// The file has a database of the same name now: there is one, and it is the file's.
	s.write(t, strings.ReplaceAll(s.mine(), "name: mine", "name: new")+"shutdown: {drain_timeout: 1s}\n")
	s.serves(t, []string{"new", "found"})
	if s.logged("a database is not served", "its name is taken by databases") != 1 {
		t.Error("the log does not say why")
	}
	running.whole(t, map[string]bool{"mine": true})

	// A database goes, and after shutdown.drain_timeout its sessions with it.
	s.remove("found")
	s.round(t)
	s.round(t)
	s.serves(t, []string{"new"})
	sidecar.Await(t, "the end of its session", func() bool {
		running.mu.Lock()
		defer running.mu.Unlock()
		return running.ended["found"] != nil
	})
}

// TestSocketInTheWay: a database that cannot listen is in trouble alone, until it can.
func TestSocketInTheWay(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	must(t, os.Mkdir(filepath.Join(s.dir, "blocked"), 0o700))
	blocker := filepath.Join(s.dir, "blocked", ".s.PGSQL.5432")
	must(t, os.WriteFile(blocker, nil, 0o600))
	s.add("blocked", 0, false)
	s.add("free", 0, false)
	s.start(t, "")
	sidecar.Await(t, "one served and one in trouble", func() bool {
		trouble, ready := "", 0
		for _, db := range s.status(t).Databases {
			if db.Ready {
				ready++
			} else if db.Name == "blocked" {
				trouble = db.Reason
			}
		}
		return ready == 1 && strings.Contains(trouble, "a file that is not a socket is in the way")
	})
	if f := s.status(t); !f.Ready {
		t.Errorf("one that was found keeps all from being ready: %v", f.Reasons)
	}
	// It tries again after each answer, and costs nothing more.
	reads, lines := s.aws.Calls("GetSecretValue"), s.logged("new configuration in force", "discovery")+s.logged("database does not listen")
	s.aws.Inject("ListSecrets", awsstub.Fault{Kind: awsstub.AccessDenied, Times: 1})
	for range 3 {
		s.round(t)
	}
	if got := s.logged("new configuration in force", "discovery") + s.logged("database does not listen"); got != lines || s.aws.Calls("GetSecretValue") != reads {
		t.Errorf("%d more lines and %d more reads of secrets", got-lines, s.aws.Calls("GetSecretValue")-reads)
	}
	running := newClients(t)
	running.begin(t, s, "free", "postgres")
	must(t, os.Remove(blocker))
	s.round(t)
	s.serves(t, []string{"blocked", "free"})
	running.whole(t, nil)
}

// TestFoundDatabaseInTrouble: what is wrong with one database that is found keeps nobody away from the
// others: a wrong password, the socket of a database of the file. Nor does a certificate of the file
// that cannot be read keep one from coming, and one that comes back in time has kept its sessions.
func TestFoundDatabaseInTrouble(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	s.aws.CreateSecret("mine", fmt.Sprintf(`{"username": "app", "password": %q}`, planted))
	s.aws.CreateSecret("wrong/app", `{"username": "app", "password": "another"}`)
	s.aws.SetTag("wrong/app", ofInstance, rdsARN+"db:wrong")
	s.secrets["wrong"] = true
	ca, err := os.ReadFile(s.caFile)
	must(t, err)
	own := filepath.Join(s.dir, "own.crt")
	must(t, os.WriteFile(own, ca, 0o600))
	for _, name := range []string{"wrong", "mine-too", "right"} {
		s.add(name, 0, false)
	}
	atRight := s.next - 1
	mine := strings.ReplaceAll(strings.ReplaceAll(s.mine(), s.dir+"/mine/", s.dir+"/mine-too/"), s.caFile, own)
	s.start(t, mine+"shutdown: {drain_timeout: 4s}\n")
	ready := func(name string) bool {
		return slices.ContainsFunc(s.status(t).Databases, func(db foundDatabase) bool { return db.Name == name && db.Ready })
	}
	sidecar.Await(t, "those that are well", func() bool { return ready("mine") && ready("right") })
	if f := s.status(t); !f.Ready || len(f.Databases) != 3 || f.Discovery[0].NotServed != 1 || s.logged("a database is not served", "its socket", "that of databases") != 1 {
		t.Errorf("%+v", f)
	}
	must(t, os.WriteFile(own, []byte("half of i"), 0o600))
	s.add("new", 0, false)
	s.round(t)
	sidecar.Await(t, "the new one", func() bool { return ready("new") })

	running := newClients(t)
	running.begin(t, s, "right", "postgres")
	s.remove("right")
	s.round(t)
	s.round(t)
	sidecar.Await(t, "that it has gone", func() bool { return s.logged("database gone", `"right"`) == 1 })
	went := time.Now()
	s.next = atRight // where it was
	s.add("right", 0, false)
	s.round(t)
	sidecar.Await(t, "that it is back", func() bool { return ready("right") })
	time.Sleep(time.Until(went.Add(5 * time.Second)))
	running.whole(t, nil)
}

// TestSocketOfSystemd: a socket that systemd passes under the name of a database is that database's
// as soon as it is found, and after it was gone for a while.
func TestSocketOfSystemd(t *testing.T) {
	t.Parallel()
	s := newStand(t, "postgres")
	s.rest = fmt.Sprintf("  interval: 24h\n  each: {tls: {ca_file: %q, server_name: localhost}}\n", s.caFile)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	socket, err := ln.(*net.TCPListener).File()
	must(t, err)
	defer socket.Close()
	s.write(t, "")
	s.Proxy = sidecar.Run(t, sidecar.Options{Binary: binary, Args: []string{"-c", s.file}, Env: s.aws.Env(), Sockets: []sidecar.Socket{{Name: "found", File: socket}}}, planted)
	sidecar.Await(t, "a start without a database", func() bool { return len(s.status(t).Reasons) > 0 })
	for range 2 {
		s.add("found", 0, false)
		s.round(t)
		s.serves(t, []string{"found"})
		conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://anybody@%s/postgres?sslmode=disable", ln.Addr()))
		must(t, err)
		must(t, conn.Ping(t.Context()))
		must(t, conn.Close(t.Context()))
		s.remove("found")
		s.round(t)
		s.round(t)
		s.serves(t, nil)
	}
}
