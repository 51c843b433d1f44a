package admin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProbes(t *testing.T) {
	var notStarted, notReady []string
	srv := Server(State{
		Started: func() []string { return notStarted },
		Ready:   func() []string { return notReady },
	}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") }))
	get := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		srv.Handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	want := func(path string, code int, body string) {
		t.Helper()
		if c, b := get(http.MethodGet, path); c != code || b != body {
			t.Errorf("%s: %d %s, want %d %s", path, c, b, code, body)
		}
	}
	want("/startup", 200, `{"ok":true}`)
	want("/readiness", 200, `{"ok":true}`)
	want("/liveness", 200, `{"ok":true}`)
	want("/metrics", 200, "metrics")
	notStarted, notReady = []string{"orders: not listening yet"}, []string{"orders: no credential yet"}
	want("/startup", 503, `{"ok":false,"reasons":["orders: not listening yet"]}`)
	want("/readiness", 503, `{"ok":false,"reasons":["orders: no credential yet"]}`)
	want("/liveness", 200, `{"ok":true}`)
	if c, _ := get(http.MethodGet, "/secrets"); c != 404 {
		t.Errorf("unknown path: %d", c)
	}
	if c, _ := get(http.MethodPost, "/liveness"); c != 405 {
		t.Errorf("POST: %d", c)
	}
	if srv.ReadHeaderTimeout == 0 || srv.ReadTimeout == 0 || srv.WriteTimeout == 0 || srv.IdleTimeout == 0 || srv.MaxHeaderBytes == 0 {
		t.Error("a phase without a bound")
	}
}
