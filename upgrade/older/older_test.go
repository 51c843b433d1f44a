package older_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/upgrade/older"
)

func TestHandler(t *testing.T) {
	quit, ended := false, ""
	self := older.Self{
		Quit: func() { quit = true }, EndBreakGlass: func(database string) { ended = database }, Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
		State: func() admin.Predecessor { return admin.Predecessor{PID: 7, Version: "v1", Sessions: 2} },
		Cancel: func(_ context.Context, request []byte) (string, error) {
			if string(request) == "known" {
				return "forwarded", nil
			}
			return "unknown", errors.New("not a cancel request")
		},
	}
	for _, test := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{http.MethodPost, "/cancel", "known", http.StatusOK, "forwarded"},
		{http.MethodPost, "/cancel", "other", http.StatusOK, "unknown"},
		{http.MethodGet, "/cancel", "known", http.StatusMethodNotAllowed, ""},
		{http.MethodGet, "/state", "", http.StatusOK, `"pid":7,"version":"v1","sessions":2`},
		{http.MethodPost, "/quit", "", http.StatusOK, ""},
		{http.MethodPost, "/end-break-glass", "orders", http.StatusOK, ""},
		{http.MethodGet, "/metrics", "", http.StatusOK, ""},
		{http.MethodPost, "/quitquitquit", "", http.StatusNotFound, ""},
	} {
		w := httptest.NewRecorder()
		self.Handler().ServeHTTP(w, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
		if w.Code != test.code || !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s %s: %d %q", test.method, test.path, w.Code, w.Body)
		}
	}
	if !quit || ended != "orders" {
		t.Errorf("told to end: %v; the emergency of %q ends", quit, ended)
	}
}

// TestNobodyThere asks where there is no older process.
func TestNobodyThere(t *testing.T) {
	none := older.Processes{Log: zap.NewNop()}
	if got := none.Cancel(t.Context(), []byte("x")); got != "unknown" {
		t.Errorf("a cancel is %s", got)
	}
	if none.States() != nil || none.Metrics() != nil {
		t.Error("there is somebody")
	}
}
