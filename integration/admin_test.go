package integration_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// probe holds what one probe says.
func (w *watched) probe(t *testing.T, path string, code int, says string) {
	t.Helper()
	if got, body, err := w.Get(path); err != nil || got != code || !strings.Contains(body, says) {
		t.Errorf("%s: %d %s %v, want %d and %q", path, got, body, err, code, says)
	}
}

// TestProbes asks the probes from before the first credential to the drain, through an
// outage of AWS and of the database that must not be seen there.
func TestProbes(t *testing.T) {
	t.Parallel()
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	var down atomic.Bool
	addr := between(t, fmt.Sprintf("localhost:%d", pg.Port), func(client, server net.Conn) {
		if !down.Load() {
			splice(client, server)
		}
	})
	_, port, _ := net.SplitHostPort(addr)
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	aws.Inject(awsstub.Any, awsstub.Fault{Kind: awsstub.Unavailable})
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
		smDatabase("main", arn, "port: "+port, "tls: "+tlsYAML("", pg.CAFile), "rotation: {refresh: 1s}")}, appPassword)
	listener := w.Addr(t, "main")
	sidecar.Await(t, "the start", func() bool { code, _, err := w.Get("/startup"); return err == nil && code == http.StatusOK })
	w.probe(t, "/readiness", http.StatusServiceUnavailable, "main: no credential yet")
	w.probe(t, "/liveness", http.StatusOK, "true")
	down.Store(true)
	aws.ClearFaults()
	sidecar.Await(t, "a credential without proof", func() bool {
		ready, why := w.ready(t)
		return !ready && strings.Contains(why, "the database has not accepted the credential yet")
	})
	w.probe(t, "/liveness", http.StatusOK, "true")
	down.Store(false)
	sidecar.Await(t, "readiness", func() bool { ready, _ := w.ready(t); return ready })
	w.recovers(t, "main", "postgres")

	down.Store(true)
	aws.Inject(awsstub.Any, awsstub.Fault{Kind: awsstub.Unavailable})
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until) && !t.Failed(); time.Sleep(50 * time.Millisecond) {
		if err := w.logIn(t.Context(), listener, "postgres"); err == nil {
			t.Error("the database is not down")
		}
		w.probe(t, "/readiness", http.StatusOK, "true")
		w.probe(t, "/liveness", http.StatusOK, "true")
	}
	down.Store(false)
	aws.ClearFaults()
	w.recovers(t, "main", "postgres")

	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://anybody@%s/postgres?sslmode=disable", listener))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	w.Signal(syscall.SIGTERM)
	sidecar.Await(t, "the drain", func() bool { ready, _ := w.ready(t); return !ready })
	w.probe(t, "/readiness", http.StatusServiceUnavailable, "shutting down")
	w.probe(t, "/liveness", http.StatusOK, "true")
	w.probe(t, "/startup", http.StatusOK, "true")
	_ = conn.Close(t.Context())
	if code := w.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}

// TestMetricsOfOddClients has clients come with all kinds of names and bytes, twice. The
// second time no series may be added, and promtool must find no fault with them.
func TestMetricsOfOddClients(t *testing.T) {
	t.Parallel()
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: oneDatabase(pg, arn)}, appPassword)
	w.recovers(t, "main", "postgres")
	round := func(n int) (series int, metrics string) {
		for i := range 20 {
			odd := fmt.Sprintf("odd%d-%d", n, i)
			for _, url := range []string{odd + "@%s/postgres", "anybody@%s/" + odd, "anybody@%s/postgres?application_name=" + odd} {
				if conn, err := pgx.Connect(t.Context(), "postgres://"+fmt.Sprintf(url, w.Addr(t, "main"))); err == nil {
					_ = conn.Close(t.Context())
				}
			}
			for _, bytes := range []string{odd, "GET /" + odd + " HTTP/1.1\r\n\r\n", "\x00\x00\x00\x10\x04\xd2\x16\x2e" + odd + "12345678"} {
				if conn, err := net.Dial("tcp", w.Addr(t, "main")); err == nil {
					_, _ = conn.Write([]byte(bytes))
					_ = conn.(*net.TCPConn).CloseWrite()
					_, _ = conn.Read(make([]byte, 1))
					_ = conn.Close()
				}
			}
			if code, _, err := w.Get("/" + odd); code != http.StatusNotFound || err != nil {
				t.Errorf("/%s: %d %v", odd, code, err)
			}
		}
		sidecar.Await(t, "the sessions to end", func() bool { n, err := w.Metric("credproxy_connections_active"); return err == nil && n == 0 })
		_, metrics, err := w.Get("/metrics")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(metrics) {
			if strings.HasPrefix(line, "credproxy_") {
				series++
			}
		}
		return series, metrics
	}
	before, _ := round(1)
	after, metrics := round(2)
	if after != before || before < 20 || strings.Contains(metrics, "odd") {
		t.Errorf("%d series, then %d:\n%s", before, after, metrics)
	}
	check := exec.CommandContext(t.Context(), "/var/cache/credproxy-test/prometheus/usr/bin/promtool", "check", "metrics") // by setup.sh
	check.Stdin = strings.NewReader(metrics)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// TestAdminRefuses sends the running process what a web page could have a browser send.
func TestAdminRefuses(t *testing.T) {
	t.Parallel()
	w := watch(t, sidecar.Options{Config: "databases:\n" + database("main", "env: {username: A, password: B}", "engine: mysql", "host: localhost"),
		Env: []string{"A=app", "B=" + appPassword}}, appPassword)
	admin, err := w.Admin()
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []struct{ header, value string }{
		{"Host", "evil.example"}, {"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
	} {
		for _, asked := range []string{"POST /quitquitquit", "POST /break-glass", "GET /debug/pprof/goroutine?debug=2", "GET /debug/pprof/profile?seconds=1"} {
			method, path, _ := strings.Cut(asked, " ")
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+admin+path, strings.NewReader(`{"reason":"x"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set(from.header, from.value)
			if from.header == "Host" {
				req.Host = from.value
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusForbidden || res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s with %s %s: %d", asked, from.header, from.value, res.StatusCode)
			}
		}
	}
	for _, path := range []string{"/", "/status", "/metrics"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "rebound.example"
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s under another name: %d", path, res.StatusCode)
		}
	}
	w.probe(t, "/liveness", http.StatusOK, "true")
	if code, answer, err := w.Post("/quitquitquit", ""); code != http.StatusOK || err != nil {
		t.Errorf("a program on this machine: %d %s %v", code, answer, err)
	}
	if code := w.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}

// TestLoginSteps reads the steps of logins that --debug shows, and the lines at the
// start that name each database and listener.
func TestLoginSteps(t *testing.T) {
	t.Parallel()
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: oneDatabase(pg, arn)}, appPassword)
	w.recovers(t, "main", "postgres")
	my := newMySQLStand(t, servers.MySQLOptions{Flavor: "mysql"}, "")
	if got := text(t, my.conn(t, my.config()), "SELECT 1"); got != "1" {
		t.Error(got)
	}
	const last = `"msg":"login: total"` // clients may hear a moment earlier
	for engine, proxy := range map[string]*sidecar.Proxy{"postgres": w.Proxy, "mysql": my.proxy} {
		proxy.AwaitLog(t, last)
		log := proxy.Log()
		method := map[string]string{"postgres": "SCRAM-SHA-256-PLUS", "mysql": "caching_sha2_password"}[engine]
		for _, want := range [][]string{
			{`"msg":"database"`, `"engine":"` + engine, `"secret":"arn:aws:`, `"tls":"verify-full"`},
			{`"msg":"listening"`, `"engine":"` + engine, `"address":"127.0.0.1:`},
			{`"msg":"login: request"`, `"client_user":"anybody"`},
			{`"msg":"login: dial"`, `"upstream":"127.0.0.1:`, `"version":"`},
			{`"msg":"login: tls"`, `"tls":"TLS 1.3"`, `"cipher":"TLS_`},
			{`"msg":"login: auth"`, `"method":"` + method, `"user":"app"`, `"version":"`},
			{last, `"took":"`},
		} {
			if !hasLine(log, want) {
				t.Errorf("%s: no line with %q", engine, want)
			}
		}
	}
}

func hasLine(log string, parts []string) bool {
	for line := range strings.Lines(log) {
		if containsAll(line, parts) {
			return true
		}
	}
	return false
}
