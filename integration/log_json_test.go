package integration_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestLogIsJSON: what the SDK of AWS and net/http have to say is in the log like all else,
// and so is why credproxy ends: nothing on standard error is plain text.
func TestLogIsJSON(t *testing.T) {
	aws := startAWS(t, awsstub.Options{})
	const document = `{"engine":"postgres","host":"localhost","port":1,"username":"app","password":"` + appPassword + `"}`
	arn := aws.CreateSecret("prod/orders", document)
	var endpoint string
	for _, variable := range aws.Env() {
		if value, found := strings.CutPrefix(variable, "AWS_ENDPOINT_URL="); found {
			endpoint = value
		}
	}
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	// A gateway whose clock is broken, and which says more than it was asked.
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host // it is signed
		}}).ServeHTTP(answer, r)
		result := answer.Result()
		result.Header.Set("Date", "yesterday")
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_ = result.Write(conn)
		_, _ = conn.Write([]byte("and another thing\n"))
	}))
	defer odd.Close()
	env := append(aws.Env(), "AWS_ENDPOINT_URL="+odd.URL)
	p := sidecar.Run(t, sidecar.Options{Binary: binary, Debug: true, Config: "databases:\n" + smDatabase("main", arn), Env: env}, appPassword)
	p.AwaitLog(t, `"msg":"credential fetched"`)
	p.AwaitLog(t, "failed to parse response Date header")
	p.AwaitLog(t, "Unsolicited response received on idle HTTP channel")
	if code := p.Stop(); code != 0 {
		t.Errorf("status %d", code)
	}
	wantJSON(t, p.Log())

	taken := listenLocal(t)
	code, _, stderr := credproxy(t, env, "run", "--admin-listen="+taken.Addr().String(), arn)
	if code != 1 || !strings.Contains(stderr, taken.Addr().String()) {
		t.Errorf("with admin's port taken: status %d\n%s", code, stderr)
	}
	wantJSON(t, stderr)
}

func wantJSON(t *testing.T, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}
