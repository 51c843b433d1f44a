package tracing_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver takes traces as an OpenTelemetry collector does, over HTTP.
type receiver struct {
	*httptest.Server

	mu      sync.Mutex
	raw     []byte // all bodies, as they came
	spans   []*tracepb.Span
	service string
	grown   chan struct{} // closed and replaced at each request
}

// run starts a receiver; the test ends it.
func run(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{grown: make(chan struct{})}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var export collectorpb.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &export)
	}
	if err != nil || req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" || len(export.ProtoReflect().GetUnknown()) > 0 {
		http.Error(w, fmt.Sprint("not OTLP: ", err), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw = append(r.raw, body...)
	for _, rs := range export.ResourceSpans {
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				r.service = a.Value.GetStringValue()
			}
		}
		for _, ss := range rs.ScopeSpans {
			r.spans = append(r.spans, ss.Spans...)
		}
	}
	close(r.grown)
	r.grown = make(chan struct{})
	answer, _ := proto.Marshal(&collectorpb.ExportTraceServiceResponse{})
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer)
}

// login is a span of a login, with its parts.
type login struct {
	*tracepb.Span
	parts []*tracepb.Span // of the whole tree below it
}

// logins are those that have arrived with all their parts: batches end anywhere, and the login
// itself is the last span of its tree.
func (r *receiver) logins() (all []login) {
	for _, s := range r.spans {
		if s.Name != "login" {
			continue
		}
		l := login{Span: s}
		for _, p := range r.spans {
			if p != s && string(p.TraceId) == string(s.TraceId) && r.below(p, s) {
				l.parts = append(l.parts, p)
			}
		}
		slices.SortStableFunc(l.parts, func(a, b *tracepb.Span) int { return int(a.StartTimeUnixNano) - int(b.StartTimeUnixNano) })
		all = append(all, l)
	}
	return all
}

func (r *receiver) below(s, top *tracepb.Span) bool {
	for i := 0; s != nil && i < 10; i++ {
		if string(s.ParentSpanId) == string(top.SpanId) {
			return true
		}
		s = r.span(s.ParentSpanId)
	}
	return false
}

func (r *receiver) span(id []byte) *tracepb.Span {
	for _, s := range r.spans {
		if string(s.SpanId) == string(id) {
			return s
		}
	}
	return nil
}

// await waits for a login that is as wanted, and returns it.
func (r *receiver) await(t *testing.T, what string, wanted func(login) bool) login {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		all, grown := r.logins(), r.grown
		r.mu.Unlock()
		for _, l := range all {
			if wanted(l) {
				return l
			}
		}
		select {
		case <-grown:
		case <-deadline:
			for _, l := range all {
				t.Log(l.tree(), l.about())
			}
			t.Fatalf("no %s in 30 s", what)
		}
	}
}

// about are the attributes.
func about(s *tracepb.Span) map[string]any {
	all := map[string]any{}
	for _, a := range s.Attributes {
		switch v := a.Value; {
		case v.GetStringValue() != "":
			all[a.Key] = v.GetStringValue()
		case v.GetBoolValue():
			all[a.Key] = true
		default:
			all[a.Key] = v.GetIntValue()
		}
	}
	return all
}

func (l login) about() map[string]any { return about(l.Span) }

// tree tells the names of the parts in the order in which they began, each with what it is a
// part of unless that is the login, and with "!" if it failed.
func (l login) tree() string {
	var names []string
	for _, p := range l.parts {
		name := p.Name
		for _, outer := range l.parts {
			if string(p.ParentSpanId) == string(outer.SpanId) {
				name = outer.Name + "/" + name
			}
		}
		if p.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			name += "!"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// part is the first part of that name.
func (l login) part(name string) *tracepb.Span {
	for _, p := range l.parts {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func took(s *tracepb.Span) time.Duration {
	return time.Duration(s.EndTimeUnixNano - s.StartTimeUnixNano)
}

// parent is the id of the trace, and of the span that the login is a part of.
func (l login) parent() string {
	return hex.EncodeToString(l.TraceId) + "-" + hex.EncodeToString(l.ParentSpanId)
}
