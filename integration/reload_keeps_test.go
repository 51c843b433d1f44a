package integration_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// reloadStand is a credproxy whose configuration a test changes.
type reloadStand struct {
	*watched
	pg   *servers.Postgres
	aws  *awsstub.Server
	path string
}

func newReloadStand(t *testing.T, config func(s *reloadStand) string) *reloadStand {
	t.Helper()
	s := &reloadStand{
		pg: newPostgres(t, servers.PostgresOptions{Version: 15}), aws: startAWS(t, awsstub.Options{}),
		path: filepath.Join(t.TempDir(), "credproxy.yaml"),
	}
	s.aws.CreateSecret("prod/main", secretJSON(s.pg, "app", appPassword))
	s.write(t, config(s))
	s.watched = watch(t, sidecar.Options{Args: []string{"-c", s.path}, Env: s.aws.Env()}, appPassword)
	return s
}

func (s *reloadStand) write(t *testing.T, databases string) {
	t.Helper()
	if err := os.WriteFile(s.path, []byte("databases:\n"+databases), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload has databases be the configuration, and waits until the status says so.
func (s *reloadStand) reload(t *testing.T, databases string, want ...string) {
	t.Helper()
	s.write(t, databases)
	s.Signal(syscall.SIGHUP)
	s.status(t, want...)
}

func (s *reloadStand) status(t *testing.T, want ...string) {
	t.Helper()
	sidecar.Await(t, strings.Join(want, ", "), func() bool {
		_, body, err := s.Get("/status")
		return err == nil && containsAll(body, want)
	})
}

// TestReloadForgetsNothing changes a database while AWS is away, and while its
// emergency credential is in use: what the new one knows is what the old one knew, and
// an emergency that was ended stays so, though a session of the time before goes on.
func TestReloadForgetsNothing(t *testing.T) {
	emergency := filepath.Join(t.TempDir(), "emergency.json")
	if err := os.WriteFile(emergency, []byte(`{"username":"app","password":"`+appPassword+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	limit := 100
	config := func(s *reloadStand) string {
		limit++
		return smDatabase("main", "prod/main", "tls: "+tlsYAML("", s.pg.CAFile),
			fmt.Sprintf("break_glass: {file: %q}", emergency), fmt.Sprintf("limits: {max_connections: %d}", limit))
	}
	s := newReloadStand(t, config)
	again := func(want ...string) {
		t.Helper()
		yaml := config(s)
		s.reload(t, yaml, append(want, fmt.Sprintf(`"limit": %d,`, limit))...)
	}
	addr := s.Addr(t, "main")
	proved(t, s.Proxy, "main")
	s.aws.Inject(awsstub.Any, awsstub.Fault{Kind: awsstub.InternalError})
	session := connect(t, addr, "postgres")
	again()
	if ready, why := s.ready(t); !ready {
		t.Errorf("not ready after a reload while AWS is away: %s", why)
	}
	if err := s.logIn(t.Context(), addr, "postgres"); err != nil {
		t.Errorf("after a reload while AWS is away: %v", err)
	}
	if code, answer, err := s.Post("/break-glass", `{"reason":"test","duration":"5m"}`); err != nil || code != 200 {
		t.Fatal(code, answer, err)
	}
	again(`"reason": "test"`)
	if code, answer, err := s.Post("/break-glass", `{"end":true}`); err != nil || code != 200 {
		t.Fatal(code, answer, err)
	}
	again()
	if _, body, err := s.Get("/status"); err != nil || strings.Contains(body, `"reason": "test"`) {
		t.Errorf("the emergency is back: %v %s", err, body)
	}
	if got := ask(t, session, "SELECT 1"); got != "1" {
		t.Errorf("the session from before answers %s", got)
	}
}

// TestReloadOfWhatFails adds a database of which nobody says what it speaks: the status
// and its clients hear why, and it is tried again when asked to. A removed database
// accepts no more, also while the one that has its address now does not serve yet.
func TestReloadOfWhatFails(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	entry := func(s *reloadStand, name, secret, listen string) string {
		return fmt.Sprintf("  - name: %s\n    listen: %s\n    credentials: {secrets_manager: {secret_id: %s}}\n    tls: %s\n", name, listen, secret, tlsYAML("", s.pg.CAFile))
	}
	s := newReloadStand(t, func(s *reloadStand) string { return entry(s, "main", "prod/main", "127.0.0.1:0") })
	s.Addr(t, "main")
	proved(t, s.Proxy, "main")
	whole := secretJSON(s.pg, "app", appPassword)
	s.aws.CreateSecret("prod/next", strings.Replace(whole, `"engine":"postgres",`, "", 1))
	both := entry(s, "main", "prod/main", "127.0.0.1:0") + entry(s, "next", "prod/next", addr)
	s.reload(t, both, "not listening: database next: the secret does not name an engine")
	if ready, why := s.ready(t); !ready {
		t.Errorf("one database without an engine takes all others out of service: %s", why)
	}
	if err := s.logIn(t.Context(), addr, "postgres"); !hasCode(err, "57P03") || !strings.Contains(err.Error(), "does not name an engine") {
		t.Errorf("at the address of the new one: %v", err)
	}
	s.aws.PutSecret("prod/next", whole)
	s.reload(t, both, addr)
	s.Addr(t, "next")
	if err := s.logIn(t.Context(), addr, "postgres"); err != nil {
		t.Errorf("when the secret names the engine: %v", err)
	}

	s.aws.Inject("GetSecretValue", awsstub.Fault{Kind: awsstub.InternalError})
	s.reload(t, entry(s, "main", "prod/main", "127.0.0.1:0")+entry(s, "third", "prod/third", addr), `"third"`)
	if err := s.logIn(t.Context(), addr, "postgres"); !hasCode(err, "57P03") {
		t.Errorf("while the secret cannot be read: %v", err)
	}
	s.aws.CreateSecret("prod/third", whole)
	s.aws.ClearFaults()
	sidecar.Await(t, "the third database", func() bool { return s.logIn(t.Context(), addr, "postgres") == nil })
}

// TestReloadWaitsForItsSecret leads a database to a secret that is not there, at an
// address that is spelled otherwise, then makes two databases share it. Clients are
// served as before, and the status tells what waits.
func TestReloadWaitsForItsSecret(t *testing.T) {
	entry := func(s *reloadStand, name, secret, listen string) string {
		return fmt.Sprintf("  - name: %s\n    listen: %q\n    credentials: {secrets_manager: {secret_id: %s}}\n    tls: %s\n", name, listen, secret, tlsYAML("", s.pg.CAFile))
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := newReloadStand(t, func(s *reloadStand) string { return entry(s, "main", "prod/main", addr) })
	s.Addr(t, "main")
	proved(t, s.Proxy, "main")
	_, port, _ := net.SplitHostPort(addr)
	s.reload(t, entry(s, "main", "prod/next", "localhost:"+port), `"replacement": "no credential yet: not_found"`, `"last_reload"`)
	if ready, why := s.ready(t); !ready {
		t.Errorf("not ready while the one before serves: %s", why)
	}
	if err := s.logIn(t.Context(), addr, "postgres"); err != nil {
		t.Errorf("while the new one waits: %v", err)
	}
	s.reload(t, entry(s, "main", "prod/main", addr)+entry(s, "other", "prod/main", "localhost:"+port), `"ok": false`)
	if _, body, err := s.Get("/"); err != nil || !strings.Contains(body, "Configuration refused") || !strings.Contains(body, "New configuration waits") {
		t.Errorf("the status page says %s, %v", body, err)
	}
	s.aws.CreateSecret("prod/next", secretJSON(s.pg, "app", appPassword))
	sidecar.Await(t, "the new one to serve", func() bool {
		_, body, err := s.Get("/status")
		return err == nil && !strings.Contains(body, "replacement") && strings.Contains(body, `"listeners"`)
	})
	if err := s.logIn(t.Context(), addr, "postgres"); err != nil {
		t.Errorf("when the new one serves: %v", err)
	}
}
