package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// request is one as a program on this machine sends it.
func request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host, r.RemoteAddr = "127.0.0.1:9090", "127.0.0.1:40000"
	return over(r, "127.0.0.1:9090")
}

// over makes r come to a local address.
func over(r *http.Request, local string) *http.Request {
	addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
}

func serve(s State, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	Server(s, http.NotFoundHandler()).Handler.ServeHTTP(w, r)
	return w
}

func yes() []string { return nil }

func anybody(net.Conn) error { return nil }

func TestWhoMayControl(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*http.Request) *http.Request
		want int
	}{
		{"a program", func(r *http.Request) *http.Request { return r }, 200},
		{"by name", func(r *http.Request) *http.Request { r.Host = "LOCALHOST:9090"; return r }, 200},
		{"by name, no port", func(r *http.Request) *http.Request { r.Host = "localhost"; return r }, 200},
		{"IPv6", func(r *http.Request) *http.Request {
			r.Host, r.RemoteAddr = "[::1]:9090", "[::1]:40000"
			return over(r, "[::1]:9090")
		}, 200},
		{"IPv4 on a dual listener", func(r *http.Request) *http.Request {
			r.RemoteAddr = "[::ffff:127.0.0.1]:40000"
			return over(r, "[::ffff:127.0.0.1]:9090")
		}, 200},
		{"the own page", func(r *http.Request) *http.Request {
			r.Header.Set("Origin", "http://127.0.0.1:9090")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			return r
		}, 200},
		{"another machine", func(r *http.Request) *http.Request {
			r.RemoteAddr = "10.0.0.7:40000"
			return over(r, "10.0.0.5:9090")
		}, 403},
		{"another machine that says localhost", func(r *http.Request) *http.Request {
			r.RemoteAddr, r.Host = "10.0.0.7:40000", "localhost"
			return over(r, "10.0.0.5:9090")
		}, 403},
		{"this machine's other address", func(r *http.Request) *http.Request {
			r.RemoteAddr = "10.0.0.5:40000"
			return over(r, "10.0.0.5:9090")
		}, 403},
		{"forwarded", func(r *http.Request) *http.Request {
			r.Header.Set("X-Forwarded-For", "127.0.0.1")
			r.RemoteAddr = "10.0.0.7:40000"
			return r
		}, 403},
		{"no address", func(r *http.Request) *http.Request { return r.WithContext(context.Background()) }, 403},
		{"a page that was rebound", func(r *http.Request) *http.Request {
			r.Host = "evil.example:9090"
			r.Header.Set("Origin", "http://evil.example:9090")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			return r
		}, 403},
		{"a name like an address", func(r *http.Request) *http.Request { r.Host = "127.0.0.1.evil.example"; return r }, 403},
		{"a name like ours", func(r *http.Request) *http.Request { r.Host = "localhost.evil.example"; return r }, 403},
		{"no host", func(r *http.Request) *http.Request { r.Host = ""; return r }, 403},
		{"a page elsewhere", func(r *http.Request) *http.Request { r.Header.Set("Sec-Fetch-Site", "cross-site"); return r }, 403},
		{"a page on another port", func(r *http.Request) *http.Request { r.Header.Set("Sec-Fetch-Site", "same-site"); return r }, 403},
		{"a page in an old browser", func(r *http.Request) *http.Request { r.Header.Set("Origin", "https://evil.example"); return r }, 403},
		{"a sandboxed page", func(r *http.Request) *http.Request { r.Header.Set("Origin", "null"); return r }, 403},
	} {
		for _, endpoint := range []struct{ method, path, body string }{
			{http.MethodPost, "/quitquitquit", ""},
			{http.MethodPost, "/break-glass", `{"end":true}`},
			{http.MethodGet, "/debug/pprof/", ""},
			{http.MethodGet, "/debug/pprof/goroutine", ""},
			{http.MethodPost, "/debug/pprof/symbol", ""},
		} {
			asked := false
			state := State{
				MayControl: anybody, Started: yes, Ready: yes, Quit: func() { asked = true },
				BreakGlass: func(BreakGlassRequest) error { asked = true; return nil },
			}
			r := request(endpoint.method, endpoint.path, endpoint.body)
			r.Header.Set("Content-Type", "application/json")
			w := serve(state, tt.edit(r))
			if w.Code != tt.want {
				t.Errorf("%s, %s %s: %d %s", tt.name, endpoint.method, endpoint.path, w.Code, w.Body)
			}
			if asked && tt.want != 200 {
				t.Errorf("%s, %s: done all the same", tt.name, endpoint.path)
			}
			if strings.HasPrefix(w.Header().Get("Access-Control-Allow-Origin"), "h") || w.Header().Get("Access-Control-Allow-Origin") == "*" {
				t.Errorf("%s: other origins may read the answer", tt.name)
			}
		}
	}
}

// TestUsersMayControl asks as one who may not, on either server.
func TestUsersMayControl(t *testing.T) {
	for name, may := range map[string]func(net.Conn) error{
		"nobody said who": nil, "another": func(net.Conn) error { return errors.New("not you") },
	} {
		state := State{MayControl: may, Quit: func() { t.Error("quit") }, BreakGlass: func(BreakGlassRequest) error { t.Error("break glass"); return nil }}
		for _, srv := range []*http.Server{Server(state, http.NotFoundHandler()), ControlServer(state)} {
			for _, endpoint := range []string{"POST /quitquitquit", "POST /break-glass", "GET /debug/pprof/", "POST /debug/pprof/symbol"} {
				method, path, _ := strings.Cut(endpoint, " ")
				w := httptest.NewRecorder()
				if srv.Handler.ServeHTTP(w, request(method, path, "{}")); w.Code != http.StatusForbidden {
					t.Errorf("%s, %s: %d", name, endpoint, w.Code)
				}
			}
		}
	}
}

// TestControlSockets holds where the socket is looked for.
func TestControlSockets(t *testing.T) {
	for _, tt := range []struct{ control, listen, want string }{
		{"", "127.0.0.1:9090", ""}, {AutoControl, "", ""},
		{"unix:/x/y", "", "/x/y"}, {"unix:/x/y", "127.0.0.1:9191", "/x/y"},
		{AutoControl, ":9191", "@credproxy/127.0.0.1:9191"}, {AutoControl, "[::]:9191", "@credproxy/127.0.0.1:9191"},
		{AutoControl, "LocalHost:9191", "@credproxy/127.0.0.1:9191"}, {AutoControl, "[::1]:9191", "@credproxy/127.0.0.1:9191"},
		{AutoControl, "127.0.0.2:9191", "@credproxy/127.0.0.2:9191"}, {AutoControl, "10.0.0.7:9191", "@credproxy/10.0.0.7:9191"},
	} {
		if got := strings.Join(ControlSockets(tt.control, tt.listen), " "); got != tt.want {
			t.Errorf("%s at %s: %s, want %s", tt.control, tt.listen, got, tt.want)
		}
	}
}

func TestControlTakesPostOnly(t *testing.T) {
	state := State{
		MayControl: anybody, Started: yes, Ready: yes, Quit: func() { t.Error("quit") },
		BreakGlass: func(BreakGlassRequest) error { t.Error("break glass"); return nil },
	}
	for _, path := range []string{"/quitquitquit", "/break-glass"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodOptions} {
			if w := serve(state, request(method, path, "")); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
}

func TestQuit(t *testing.T) {
	quits := 0
	state := State{MayControl: anybody, Started: yes, Ready: yes, Quit: func() { quits++ }}
	r := request(http.MethodPost, "/quitquitquit", "anything") // wget cannot POST without a body
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if w := serve(state, r); w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"ok":true}` || quits != 1 {
		t.Errorf("%d %s, %d quits", w.Code, w.Body, quits)
	}
	// The server may end with the answer under way: its length must have gone before.
	if w := serve(state, request(http.MethodPost, "/quitquitquit", "")); w.Header().Get("Content-Length") != "12" || w.Body.Len() != 12 {
		t.Errorf("the answer has %d bytes, Content-Length %q", w.Body.Len(), w.Header().Get("Content-Length"))
	}
	if w := serve(State{MayControl: anybody, Started: yes, Ready: yes}, request(http.MethodPost, "/quitquitquit", "")); w.Code != http.StatusNotImplemented {
		t.Errorf("without a drain: %d", w.Code)
	}
}

func TestBreakGlass(t *testing.T) {
	for _, tt := range []struct {
		body string
		want BreakGlassRequest
		code int
		says string
	}{
		{`{"reason":" secret deleted ","duration":"30m"}`, BreakGlassRequest{Reason: "secret deleted", Duration: Duration(30 * time.Minute)}, 200, ""},
		{`{"reason":"x","database":"orders"}`, BreakGlassRequest{Reason: "x", Database: "orders"}, 200, ""},
		{`{"end":true}`, BreakGlassRequest{End: true}, 200, ""},
		{`{"reason":"refuse"}`, BreakGlassRequest{Reason: "refuse"}, 409, "no such database"},
		{``, BreakGlassRequest{}, 400, "EOF"},
		{`{}`, BreakGlassRequest{}, 400, "reason is missing"},
		{`{"reason":"  "}`, BreakGlassRequest{}, 400, "reason is missing"},
		{`{"reason":"x","end":true}`, BreakGlassRequest{}, 400, "end goes without"},
		{`{"reason":"x","duration":"-1m"}`, BreakGlassRequest{}, 400, "negative"},
		{`{"reason":"x","duration":"soon"}`, BreakGlassRequest{}, 400, "duration"},
		{`{"reason":"x","duration":60}`, BreakGlassRequest{}, 400, "duration"},
		{`{"reason":"x","user":"y"}`, BreakGlassRequest{}, 400, "user"},
		{`{"end":true} {}`, BreakGlassRequest{}, 400, "goes on"},
		{`{"reason":"` + strings.Repeat("x", maxReason+1) + `"}`, BreakGlassRequest{}, 400, "500"},
		{`{"reason":"` + strings.Repeat("x", maxControlBody) + `"}`, BreakGlassRequest{}, 413, "4096 bytes"},
	} {
		var got BreakGlassRequest
		state := State{MayControl: anybody, Started: yes, Ready: yes, BreakGlass: func(r BreakGlassRequest) error {
			got = r
			if r.Reason == "refuse" {
				return errors.New("no such database")
			}
			return nil
		}}
		r := request(http.MethodPost, "/break-glass", tt.body)
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
		w := serve(state, r)
		var a Answer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatalf("%s: %v", tt.body, err)
		}
		if w.Code != tt.code || a.OK != (tt.code == 200) || !strings.Contains(strings.Join(a.Reasons, ""), tt.says) || got != tt.want {
			t.Errorf("%.60s: %d %s, passed on %+v", tt.body, w.Code, w.Body, got)
		}
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded"} { // what a form of a web page sends
		r := request(http.MethodPost, "/break-glass", `{"end":true}`)
		r.Header.Set("Content-Type", kind)
		if w := serve(State{MayControl: anybody, Started: yes, Ready: yes, BreakGlass: func(BreakGlassRequest) error { return nil }}, r); w.Code != http.StatusUnsupportedMediaType {
			t.Errorf("Content-Type %q: %d", kind, w.Code)
		}
	}
	if w := serve(State{MayControl: anybody, Started: yes, Ready: yes}, request(http.MethodPost, "/break-glass", "")); w.Code != http.StatusNotImplemented {
		t.Errorf("without an emergency credential: %d", w.Code)
	}
}

// TestDurationRoundTrip holds that what a client writes is what the server reads.
func TestDurationRoundTrip(t *testing.T) {
	body, err := json.Marshal(BreakGlassRequest{Reason: "x", Duration: Duration(90 * time.Second)})
	if err != nil || string(body) != `{"reason":"x","duration":"1m30s"}` {
		t.Errorf("%s, %v", body, err)
	}
}

func TestWhoMayRead(t *testing.T) {
	state := State{MayControl: anybody, Started: yes, Ready: yes, Status: func() Status { return Status{Version: "v1"} }}
	for _, tt := range []struct {
		local, host string
		want        int
	}{
		{"127.0.0.1:9090", "127.0.0.1:9090", 200},
		{"127.0.0.1:9090", "localhost:19090", 200},
		{"127.0.0.1:9090", "10.0.0.5:9090", 200}, // through a forwarded port; no name to rebind
		{"127.0.0.1:9090", "evil.example:9090", 403},
		{"[::1]:9090", "evil.example:9090", 403},
		{"10.0.0.5:9090", "credproxy.example:9090", 200},
	} {
		r := request(http.MethodGet, "/status", "")
		r.Host = tt.host
		w := serve(state, over(r, tt.local))
		if w.Code != tt.want || tt.want == 200 && !strings.Contains(w.Body.String(), `"version": "v1"`) {
			t.Errorf("%s on %s: %d %s", tt.host, tt.local, w.Code, w.Body)
		}
		for header, want := range map[string]string{
			"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %q, want %q", header, got, want)
			}
		}
	}
	for _, path := range []string{"/startup", "/readiness", "/liveness"} { // orchestrators may set any Host
		r := request(http.MethodGet, path, "")
		r.Host = "probe.example"
		if w := serve(state, r); w.Code != 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
