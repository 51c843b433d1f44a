package admin_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/admin"
)

// TestUpgradeEndpoint asks for upgrades over the socket for control.
func TestUpgradeEndpoint(t *testing.T) {
	var asked time.Duration
	state := admin.State{MayControl: func(net.Conn) error { return nil }}
	do := func(_ context.Context, timeout time.Duration) (admin.Upgraded, error) {
		asked = timeout
		if timeout == time.Second {
			return admin.Upgraded{}, errors.New("not ready within 1s")
		}
		return admin.Upgraded{PID: 7, SessionsLeft: 3}, nil
	}
	for _, test := range []struct {
		body    string
		do      func(context.Context, time.Duration) (admin.Upgraded, error)
		code    int
		want    string
		timeout time.Duration
	}{
		{"", do, http.StatusOK, `{"ok":true,"pid":7,"sessions_left":3}`, 0},
		{`{"timeout": "2m"}`, do, http.StatusOK, `"pid":7`, 2 * time.Minute},
		{`{"timeout": "1s"}`, do, http.StatusConflict, `{"ok":false,"reasons":["not ready within 1s"]}`, time.Second},
		{`{"timeout": "2h"}`, do, http.StatusBadRequest, "between 0s and 1h0m0s", -1},
		{`{"timeout": "-1s"}`, do, http.StatusBadRequest, "between 0s and 1h0m0s", -1},
		{`{"time": "1s"}`, do, http.StatusBadRequest, "not what POST /upgrade takes", -1},
		{`{} {}`, do, http.StatusBadRequest, "not what POST /upgrade takes", -1},
		{strings.Repeat(" ", 5000) + "{}", do, http.StatusBadRequest, "not what POST /upgrade takes", -1},
		{"", nil, http.StatusNotImplemented, "cannot be upgraded", -1},
	} {
		asked, state.Upgrade = -1, test.do
		w := httptest.NewRecorder()
		admin.ControlServer(state).Handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/upgrade", strings.NewReader(test.body)))
		if w.Code != test.code || !strings.Contains(w.Body.String(), test.want) || asked != test.timeout {
			t.Errorf("%.50s: %d %s, timeout %s", test.body, w.Code, w.Body, asked)
		}
	}
}
