package client_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/credproxy/credproxy/admin/client"
)

// TestNeedsRestart holds which failures of an upgrade say that a restart is all that is left. A connection
// that breaks off is none: the upgrade may be under way.
func TestNeedsRestart(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for name, test := range map[string]struct {
		handler http.HandlerFunc // nil: nobody listens
		want    bool
	}{
		"nobody listens": {nil, true},
		"too old":        {http.NotFound, true},
		"breaks off":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"reasons": ["not ready"]}`))
		}, false},
	} {
		addr := closed.Addr().String()
		if test.handler != nil {
			srv := httptest.NewServer(test.handler)
			defer srv.Close()
			addr = srv.Listener.Addr().String()
		}
		c, err := client.New(addr, "off", "this test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Upgrade(t.Context(), time.Second); err == nil || errors.Is(err, client.ErrNeedsRestart) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
