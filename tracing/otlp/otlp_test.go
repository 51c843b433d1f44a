package otlp

import (
	"compress/gzip"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver takes what is sent, after answer has said how.
type receiver struct {
	*httptest.Server
	answer func(w http.ResponseWriter, r *http.Request) (take bool)

	mu    sync.Mutex
	took  []*tracepb.ResourceSpans
	paths []string
}

func newReceiver(t *testing.T, answer func(http.ResponseWriter, *http.Request) bool) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.answer != nil && !r.answer(w, req) {
		return
	}
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(body)
	}
	all, err := io.ReadAll(body)
	var data tracepb.TracesData
	if err == nil {
		err = proto.Unmarshal(all, &data)
	}
	if err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took, r.paths = append(r.took, data.ResourceSpans...), append(r.paths, req.URL.Path)
}

// spans are those that arrived, by name.
func (r *receiver) spans() map[string]*tracepb.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]*tracepb.Span{}
	for _, rs := range r.took {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				all[s.Name] = s
			}
		}
	}
	return all
}

// start starts an exporter to url, whose log is returned.
func start(t *testing.T, url string) (*Exporter, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	e := Start(Options{Endpoint: url, Version: "1.2.3", Log: zap.New(core)})
	if e == nil {
		t.Fatal(logs.All())
	}
	return e, logs
}

type refused struct{ error }

func (refused) StatusCode() string { return "28P01" }

// aLogin is one whose dial succeeded, and which the database refused.
func aLogin(parent string) *tracing.Trace {
	l := tracing.NewLogin(time.Now())
	l.SetParent(parent)
	began := time.Now()
	failed := &fault.Error{Kind: fault.CredentialRejected, Message: "the database refused the credential", Err: refused{errors.New("planted-cause")}}
	t := l.End(failed)
	t.Spans[0].Attributes = []tracing.Attribute{{Key: "server.address", Value: "db"}, {Key: "server.port", Value: int64(5432)}, {Key: "credproxy.reused", Value: true}}
	t.Spans = append(t.Spans,
		tracing.Record{Name: "dial", Start: began, End: began.Add(time.Millisecond)},
		tracing.Record{Name: "lookup", Parent: 1, Start: began, End: began.Add(time.Millisecond)})
	return t
}

func about(s *tracepb.Span) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes {
		all[a.Key] = strings.Trim(a.Value.String(), " ")
	}
	return all
}

func TestSpans(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=planted%2Ckey, second=b")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	r := newReceiver(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Api-Key") != "planted,key" || r.Header.Get("Second") != "b" {
			http.Error(w, "no", http.StatusUnauthorized)
			return false
		}
		return true
	})
	e, logs := start(t, r.URL+"/base/")
	e.For("orders")(aLogin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	e.Close()
	spans := r.spans()
	login, dial, lookup := spans["login"], spans["dial"], spans["lookup"]
	if len(spans) != 3 || login == nil || dial == nil || lookup == nil || r.paths[0] != "/base/v1/traces" {
		t.Fatalf("%v at %v; log %v", spans, r.paths, logs.All())
	}
	if got := hex.EncodeToString(login.TraceId) + " " + hex.EncodeToString(login.ParentSpanId); got != "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331" {
		t.Errorf("the client's trace and span: %s", got)
	}
	if string(dial.ParentSpanId) != string(login.SpanId) || string(lookup.ParentSpanId) != string(dial.SpanId) || string(lookup.TraceId) != string(login.TraceId) {
		t.Error("not the tree")
	}
	if login.Status.Code != tracepb.Status_STATUS_CODE_ERROR || login.Status.Message != "the database refused the credential" || dial.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET {
		t.Errorf("status %v, %v", login.Status, dial.Status)
	}
	if login.Kind != tracepb.Span_SPAN_KIND_CLIENT || dial.Kind != tracepb.Span_SPAN_KIND_INTERNAL || dial.EndTimeUnixNano-dial.StartTimeUnixNano != uint64(time.Millisecond) {
		t.Errorf("%v\n%v", login, dial)
	}
	got := about(login)
	for key, want := range map[string]string{
		"credproxy.database": `string_value:"orders"`, "server.address": `string_value:"db"`, "server.port": "int_value:5432", "credproxy.reused": "bool_value:true",
		"error.type": `string_value:"credential_rejected"`, "db.response.status_code": `string_value:"28P01"`,
	} {
		if got[key] != want {
			t.Errorf("%s is %s, want %s", key, got[key], want)
		}
	}
	all := r.took[0].String()
	for _, want := range []string{`"service.name" value:{string_value:"credproxy"}`, `"service.version" value:{string_value:"1.2.3"}`, `"deployment.environment.name" value:{string_value:"test"}`} {
		if !strings.Contains(strings.ReplaceAll(all, "  ", " "), want) {
			t.Errorf("no %s in %s", want, all)
		}
	}
	if strings.Contains(all, "planted") {
		t.Errorf("a cause, which is for the log, is in %s", all)
	}
	for _, line := range logs.All() {
		if line.Level > zap.InfoLevel || strings.Contains(line.Message, "planted") {
			t.Errorf("log: %v %v", line.Message, line.ContextMap())
		}
	}
}

type said string

func (said) Error() string        { return "no" }
func (s said) StatusCode() string { return string(s) }

// TestTexts has texts of the database that are too long, not UTF-8, or empty: each span arrives
// all the same.
func TestTexts(t *testing.T) {
	r := newReceiver(t, nil)
	e, logs := start(t, r.URL)
	want := map[string]string{"\xff\xfe42": `string_value:"42"`, strings.Repeat("A", 1<<16): `string_value:"` + strings.Repeat("A", 256) + `"`, "": ""}
	for code := range want {
		l := tracing.NewLogin(time.Now())
		l.Context(t.Context())
		trace := l.End(&fault.Error{Kind: fault.UpstreamRefused, Message: "\xff" + strings.Repeat("B", 1000), Err: said(code)})
		trace.Spans[0].Name = "login " + fault.Clip(code)
		e.For("orders")(trace)
	}
	e.Close()
	spans := r.spans()
	if len(spans) != len(want) {
		t.Fatalf("%d spans of %d; log %v", len(spans), len(want), logs.All())
	}
	for code, want := range want {
		s := spans["login "+fault.Clip(code)]
		if got := about(s)["db.response.status_code"]; got != want || s.Status.Message != strings.Repeat("B", 255) {
			t.Errorf("%.10q: %.300q, want %.300q; description %.300q", code, got, want, s.Status.Message)
		}
	}
}

func TestParents(t *testing.T) {
	for _, tt := range []struct {
		sampler, parent string
		arrives         bool
	}{
		{"", "", true},
		{"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
		{"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", false}, // the client's is not recorded
		{"", "00-00000000000000000000000000000000-b7ad6b7169203331-01", true},  // malformed: as without
		{"", "zz-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true},
		{"always_off", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
		{"parentbased_always_off", "", false},
		{"parentbased_always_off", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
	} {
		t.Setenv("OTEL_SERVICE_NAME", "mine")
		if tt.sampler != "" {
			t.Setenv("OTEL_TRACES_SAMPLER", tt.sampler)
		}
		r := newReceiver(t, nil)
		e, _ := start(t, r.URL)
		e.For("orders")(aLogin(tt.parent))
		e.Close()
		if spans := r.spans(); (len(spans) == 3) != tt.arrives {
			t.Errorf("%+v: %d spans", tt, len(spans))
		} else if tt.arrives && !strings.Contains(r.took[0].String(), `"mine"`) {
			t.Errorf("%+v: not the name of the service: %v", tt, r.took[0])
		}
	}
}

// TestOff has traces turned off, which comes before mistakes in the rest.
func TestOff(t *testing.T) {
	for _, env := range []map[string]string{
		{},
		{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
		{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_RESOURCE_ATTRIBUTES": "a"},
		{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_HEADERS": "a"},
		{"OTEL_TRACES_EXPORTER": "zipkin"}, // of others: nobody wants traces of credproxy
		{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
	} {
		t.Run("", func(t *testing.T) {
			for name, value := range env {
				t.Setenv(name, value)
			}
			core, logs := observer.New(zap.InfoLevel)
			e := Start(Options{Log: zap.New(core)})
			if e != nil || e.For("orders") != nil || logs.Len() > 0 {
				t.Errorf("%v: %v, log %v", env, e, logs.All())
			}
			e.Close()
		})
	}
}

func TestEndpoint(t *testing.T) {
	for _, tt := range []struct{ configured, all, traces, want string }{
		{"", "", "", ""},
		{"http://a:4318", "", "", "http://a:4318/v1/traces"},
		{"http://a:4318/x/", "http://b", "http://c", "http://a:4318/x/v1/traces"},
		{"", "http://b", "", "http://b/v1/traces"},
		{"", "http://b/y", "https://c/z", "https://c/z"},
		{"", "", "https://c", "https://c/"},
		{"", "", "c:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: not the URL"},
		{"", "http://u:planted@b", "", "OTEL_EXPORTER_OTLP_ENDPOINT: the URL of an OTLP receiver has no user"},
	} {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", tt.all)
		t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", tt.traces)
		got, err := endpoint(tt.configured)
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != tt.want || err != nil && !strings.HasPrefix(got, tt.want) || strings.Contains(got, "planted") {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

func TestMistakesInTheEnvironment(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "planted.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, value, want string }{
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "planted:4317", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: not the URL of an OTLP receiver"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL: credproxy speaks http/protobuf alone; set tracing.endpoint"},
		{"OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER: credproxy has otlp and none"},
		{"OTEL_TRACES_EXPORTER", "console", "OTEL_TRACES_EXPORTER: credproxy has otlp and none"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=b,planted", "OTEL_EXPORTER_OTLP_HEADERS: entry 2 is not name=value"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=planted%zz", "OTEL_EXPORTER_OTLP_TRACES_HEADERS: entry 1"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=planted%0d%0ab", "OTEL_EXPORTER_OTLP_HEADERS: entry 1"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=planted%01", "OTEL_EXPORTER_OTLP_HEADERS: entry 1"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "b=c,a(b)=planted", "OTEL_EXPORTER_OTLP_HEADERS: entry 2"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "OTEL_EXPORTER_OTLP_TIMEOUT: not a whole number from 1 to 3600000"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "9300000000000", "OTEL_EXPORTER_OTLP_TIMEOUT: not a whole number"},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "OTEL_EXPORTER_OTLP_COMPRESSION: write gzip or none"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent", "OTEL_EXPORTER_OTLP_CERTIFICATE: open /nonexistent"},
		{"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", empty, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: no certificate in"},
		{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/nonexistent", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: open /nonexistent"},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=b,planted", "OTEL_RESOURCE_ATTRIBUTES: an entry is not name=value"},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=%ff", "OTEL_RESOURCE_ATTRIBUTES or OTEL_SERVICE_NAME: not UTF-8"},
		{"OTEL_SERVICE_NAME", "planted\xff", "OTEL_RESOURCE_ATTRIBUTES or OTEL_SERVICE_NAME: not UTF-8"},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "-1", "OTEL_BSP_MAX_QUEUE_SIZE: not a whole number from 1 to 65536"},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: not a whole number"},
		{"OTEL_BSP_EXPORT_TIMEOUT", "0", "OTEL_BSP_EXPORT_TIMEOUT: not a whole number"},
		{"OTEL_BSP_SCHEDULE_DELAY", "0", "OTEL_BSP_SCHEDULE_DELAY: not a whole number"},
		{"OTEL_TRACES_SAMPLER", "planted", "OTEL_TRACES_SAMPLER: no sampler of this name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
			t.Setenv(tt.name, tt.value)
			core, logs := observer.New(zap.InfoLevel)
			e := Start(Options{Log: zap.New(core)})
			e.Close()
			if e != nil || logs.FilterMessage("there are no traces").FilterLevelExact(zap.WarnLevel).Len() != 1 || logs.Len() != 1 {
				t.Fatalf("%s=%q: %v, log %v", tt.name, tt.value, e, logs.All())
			}
			said := logs.All()[0].ContextMap()["error"].(string)
			if !strings.HasPrefix(said, tt.want) || tt.value != empty && strings.Contains(said, "planted") {
				t.Errorf("%s=%q: %s", tt.name, tt.value, said)
			}
		})
	}
}

// TestSampler has the shares that OTEL_TRACES_SAMPLER_ARG may be.
func TestSampler(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
	for share, ok := range map[string]bool{"": true, "0": true, "0.25": true, "1": true, "1.5": false, "-0.1": false, "NaN": false, "half": false} {
		t.Setenv("OTEL_TRACES_SAMPLER_ARG", share)
		if err := checkSDK(); (err == nil) != ok {
			t.Errorf("%q: %v", share, err)
		}
	}
}

// TestConfiguredEndpoint has variables that are meant for other programs beside tracing.endpoint.
func TestConfiguredEndpoint(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	t.Setenv("OTEL_TRACES_EXPORTER", "console,otlp")
	r := newReceiver(t, nil)
	e, logs := start(t, r.URL)
	e.For("orders")(aLogin(""))
	e.Close()
	if len(r.spans()) != 3 || logs.FilterLevelExact(zap.WarnLevel).Len() > 0 {
		t.Errorf("%v; log %v", r.spans(), logs.All())
	}
}

// TestReceiver hands over far more logins than any queue holds while the receiver is
// away, refuses, or says nothing. Handing over never waits, nor does the end for long, and the
// log has a line or two.
func TestReceiver(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=planted")
	hold := make(chan struct{})
	defer close(hold)
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, url := range map[string]string{
		"away": gone.URL,
		"refuses": newReceiver(t, func(w http.ResponseWriter, r *http.Request) bool {
			http.Error(w, "wrong api-key: "+r.Header.Get("Api-Key"), http.StatusForbidden)
			return false
		}).URL,
		"sends elsewhere": newReceiver(t, func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://"+r.Host+"/other", http.StatusTemporaryRedirect)
			return r.URL.Path == "/other"
		}).URL,
		"says nothing": newReceiver(t, func(http.ResponseWriter, *http.Request) bool { <-hold; return false }).URL,
	} {
		e, logs := start(t, url)
		take, began := e.For("orders"), time.Now()
		for range 20_000 {
			take(aLogin(""))
		}
		if took := time.Since(began); took > 2*time.Second { // what a wait for any time-out would exceed
			t.Errorf("%s: handing over took %v", name, took)
		}
		began = time.Now()
		e.Close()
		if took := time.Since(began); took > flushTimeout+2*time.Second {
			t.Errorf("%s: the end took %v", name, took)
		}
		warnings := logs.FilterLevelExact(zap.WarnLevel).All()
		if len(warnings) != 1 || warnings[0].Message != "traces cannot be sent; logins do not wait for them" {
			t.Errorf("%s: log: %v", name, warnings)
		}
		for _, line := range logs.All() {
			if why, _ := line.ContextMap()["error"].(string); strings.Contains(why, "planted") {
				t.Errorf("%s: a header is in the log: %s", name, why)
			}
		}
	}
}

// TestNoTimeToClose has a receiver that says nothing when drain_timeout is over.
func TestNoTimeToClose(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	e, logs := start(t, newReceiver(t, func(http.ResponseWriter, *http.Request) bool { <-hold; return false }).URL)
	e.For("orders")(aLogin(""))
	began := time.Now()
	e.CloseWithin(0)
	e.Close()
	e.Close()
	if took := time.Since(began); took > 2*time.Second || logs.FilterLevelExact(zap.WarnLevel).Len() != 1 {
		t.Errorf("the end took %v; log %v", took, logs.All())
	}
}

// TestReceiverComesBack has a receiver that is busy once.
func TestReceiverComesBack(t *testing.T) {
	var calls atomic.Int64
	r := newReceiver(t, func(w http.ResponseWriter, r *http.Request) bool {
		if calls.Add(1) > 1 {
			return true
		}
		w.Header().Set("Retry-After", "1")
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return false
	})
	e, logs := start(t, r.URL)
	e.For("orders")(aLogin(""))
	e.Close()
	if len(r.spans()) != 3 || calls.Load() != 2 || logs.FilterLevelExact(zap.WarnLevel).Len() > 0 {
		t.Errorf("%d spans after %d calls; log %v", len(r.spans()), calls.Load(), logs.All())
	}
}

// TestRejected has a receiver that takes all spans of a batch but some, and says so.
func TestRejected(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write([]byte("\x0a\x0f\x08\x02\x12\x0bplanted-why"))
		return true
	})
	e, logs := start(t, r.URL)
	e.For("orders")(aLogin(""))
	e.Close()
	lines := logs.FilterLevelExact(zap.WarnLevel).All()
	if len(lines) != 1 || lines[0].ContextMap()["error"] != "traces export: the receiver rejected 2 spans" || lines[0].ContextMap()["spans_lost"] != int64(2) {
		t.Errorf("log: %v", lines)
	}
}

func FuzzRejected(f *testing.F) {
	f.Add([]byte("\x0a\x0f\x08\x02\x12\x0bplanted-why"))
	f.Add([]byte("\x0a\x02\x08\xff"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		if rejected(answer) < 0 {
			t.Error("less than none")
		}
	})
}

// TestTellsThatItIsOver has a receiver that refuses, and then does not.
func TestTellsThatItIsOver(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	var open atomic.Bool
	r := newReceiver(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !open.Load() {
			http.Error(w, "no", http.StatusForbidden)
		}
		return open.Load()
	})
	e, logs := start(t, r.URL)
	defer e.Close()
	await := func(message string) observer.LoggedEntry {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if lines := logs.FilterMessage(message).All(); len(lines) > 0 {
				return lines[0]
			}
			if e.For("orders")(aLogin("")); time.Now().After(deadline) {
				t.Fatalf("no line %q in %v", message, logs.All())
			}
		}
	}
	first := await("traces cannot be sent; logins do not wait for them").ContextMap()
	if first["error"] != "traces export: the receiver answers 403 Forbidden" || first["spans_lost"].(int64) == 0 {
		t.Errorf("%v", first)
	}
	open.Store(true)
	await("traces can be sent again")
	if len(r.spans()) != 3 {
		t.Errorf("%d spans", len(r.spans()))
	}
}
