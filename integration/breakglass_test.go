package integration_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestBreakGlass lets an operator through a secret that is wrong for good: with an
// emergency credential, for as long as they say.
func TestBreakGlass(t *testing.T) {
	const emergencyPassword = "3mergency-Passw0rd"
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	if err := pg.CreateRole(t.Context(), "emergency", emergencyPassword); err != nil {
		t.Fatal(err)
	}
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", "wr0ng-Passw0rd"))
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"emergency.json": fmt.Sprintf(`{"username":"emergency","password":%q}`, emergencyPassword)})
	file := filepath.Join(dir, "emergency.json")
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "admin: {listen: '127.0.0.1:0', readiness: strict}\ndatabases:\n" + smDatabase("main", arn, "tls: "+tlsYAML("", pg.CAFile),
		fmt.Sprintf("break_glass: {file: %q, max_duration: 10m}", file), "rotation: {grace: 0s}")}, emergencyPassword, "wr0ng-Passw0rd")
	addr := w.Addr(t, "main")
	if err := w.logIn(t.Context(), addr, "postgres"); err == nil {
		t.Fatal("the wrong password works")
	}
	post := func(body string) (int, string) {
		t.Helper()
		code, answer, err := w.Post("/break-glass", body)
		if err != nil {
			t.Fatal(err)
		}
		return code, answer
	}
	for body, says := range map[string]string{
		`{"duration":"5m"}`:                             "reason",
		`{"reason":"x","duration":"1h"}`:                "max_duration",
		`{"reason":"x","database":"other"}`:             "other",
		`{"end":true}`:                                  "no database uses",
		`{"reason":"x","duration":"5m","password":"y"}`: "password",
	} {
		if code, answer := post(body); code < 400 || !strings.Contains(answer, says) {
			t.Errorf("%s: %d %s", body, code, answer)
		}
	}
	if code, answer := post(`{"reason":"rotation is broken","duration":"5m"}`); code != http.StatusOK {
		t.Fatalf("%d %s", code, answer)
	}
	conn := connect(t, addr, "postgres")
	if got := ask(t, conn, "SELECT current_user"); got != "emergency" {
		t.Errorf("logged in as %s", got)
	}
	if active, err := w.Metric("credproxy_break_glass_active"); err != nil || active != 1 {
		t.Errorf("credproxy_break_glass_active is %v, %v", active, err)
	}
	if ready, why := w.ready(t); !ready {
		t.Errorf("not ready in the emergency: %s", why)
	}
	if _, page, err := w.Get("/status"); err != nil || !strings.Contains(page, "rotation is broken") {
		t.Errorf("status %s, %v", page, err)
	}
	if err := pg.Exec(t.Context(), "ALTER ROLE emergency PASSWORD 'another'"); err != nil {
		t.Fatal(err)
	}
	if err := w.logIn(t.Context(), addr, "postgres"); err == nil {
		t.Error("a wrong emergency credential works")
	}
	if ready, _ := w.ready(t); ready {
		t.Error("ready though the database refuses both credentials")
	}
	if code, answer := post(`{"end":true}`); code != http.StatusOK {
		t.Errorf("%d %s", code, answer)
	}
	if err := w.logIn(t.Context(), addr, "postgres"); err == nil {
		t.Error("the emergency credential still works after the end")
	}
	if got := ask(t, conn, "SELECT 1"); got != "1" {
		t.Errorf("the session from the emergency answers %s", got)
	}
	if !containsAll(w.Log(), []string{`"msg":"break-glass asked for"`, `"reason":"rotation is broken"`, `"stage":"BREAK_GLASS"`, "break-glass has ended"}) {
		t.Error("the audit log does not tell")
	}
}
