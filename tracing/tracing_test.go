package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/credproxy/credproxy/tracing"
)

func TestTree(t *testing.T) {
	began, failed := time.Now().Add(-time.Second), errors.New("no such host")
	l := tracing.NewLogin(began)
	ctx := l.Context(t.Context())
	dialCtx, dial := tracing.Start(ctx, "dial")
	_, lookup := tracing.Start(dialCtx, "lookup")
	lookup.End(failed)
	dial.Text("server.address", "db.example")
	dial.Text("server.address", "other.example") // in its place
	dial.Text("empty", "")
	dial.Number("server.port", 5432)
	dial.End(failed)
	tracing.Of(dialCtx).Flag("credproxy.reused")
	_, _ = tracing.Start(tracing.WithSpanOf(t.Context(), dialCtx), "auth") // not over when the login is
	l.SetParent("00-x")
	trace := l.End(nil)
	want := []struct {
		name   string
		parent int
		err    error
		about  string
	}{
		{"login", -1, nil, "[{credproxy.reused true}]"},
		{"dial", 0, failed, "[{server.address other.example} {server.port 5432}]"},
		{"lookup", 1, failed, "[]"},
		{"auth", 1, nil, "[]"},
	}
	if len(trace.Spans) != len(want) || trace.Parent != "00-x" || !trace.Spans[0].Start.Equal(began) {
		t.Fatalf("%+v", trace)
	}
	for i, s := range trace.Spans {
		w := want[i]
		if s.Name != w.name || s.Parent != w.parent || s.Err != w.err || fmt.Sprint(s.Attributes) != w.about || s.End.Before(s.Start) {
			t.Errorf("span %d: %+v, want %+v", i, s, w)
		}
	}
}

// TestAfterTheLogin has steps that come too late: those of a change of user in the session.
func TestAfterTheLogin(t *testing.T) {
	l := tracing.NewLogin(time.Now())
	ctx := l.Context(t.Context())
	_, early := tracing.Start(ctx, "dial")
	trace := l.End(nil)
	early.End(errors.New("too late"))
	early.Text("a", "b")
	l.SetParent("x")
	if same, late := tracing.Start(ctx, "auth"); late.On() || same != ctx {
		t.Error("a step began after the login")
	}
	if len(trace.Spans) != 2 || trace.Spans[1].Err != nil || trace.Spans[1].Attributes != nil || trace.Parent != "" || l.End(nil) != nil {
		t.Errorf("%+v", trace)
	}
}

func TestCaps(t *testing.T) {
	l := tracing.NewLogin(time.Now())
	ctx := l.Context(t.Context())
	_, first := tracing.Start(ctx, "dial")
	for i := range 100 {
		first.Number(fmt.Sprint(i), 1)
	}
	for range 299 {
		_, s := tracing.Start(ctx, "source")
		s.Text("long", strings.Repeat("ä", 1000))
	}
	trace := l.End(nil)
	if len(trace.Spans) != 256 || trace.LeftOut != 300-255 || len(trace.Spans[1].Attributes) != 16 {
		t.Errorf("%d spans, %d left out, %d attributes", len(trace.Spans), trace.LeftOut, len(trace.Spans[1].Attributes))
	}
	if text := trace.Spans[2].Attributes[0].Value.(string); len(text) != 256 || strings.ToValidUTF8(text, "?") != text {
		t.Errorf("a text of %d bytes: %q", len(text), text)
	}
}

func TestConcurrentSteps(t *testing.T) {
	l := tracing.NewLogin(time.Now())
	ctx := l.Context(t.Context())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				_, s := tracing.Start(ctx, "dial")
				s.Flag("a")
				s.End(nil)
			}
		})
	}
	all.Wait()
	if trace := l.End(nil); len(trace.Spans)+trace.LeftOut != 81 {
		t.Errorf("%d spans, %d left out", len(trace.Spans), trace.LeftOut)
	}
}

// TestNobodyListens holds that a login without a trace pays nothing for it.
func TestNobodyListens(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "peer"))
	defer cancel()
	if n := testing.AllocsPerRun(100, func() {
		in, span := tracing.Start(ctx, "dial")
		span.Text("server.address", "db.example")
		span.Number("server.port", 1<<40)
		span.Flag("credproxy.reused")
		tracing.Of(in).Text("db.namespace", "orders")
		span.End(nil)
		if tracing.WithSpanOf(ctx, in) != ctx || in != ctx {
			t.Error("another context")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFindTraceparent(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for text, want := range map[string]string{
		"":                             "",
		"psql":                         "",
		parent:                         parent,
		"traceparent=" + parent:        parent,
		"traceparent='" + parent + "'": parent,
		"orders/*traceparent='" + parent + "',action='login'": parent,
		`traceparent="` + parent + `" tracestate=x`:           parent,
		parent + "garbage":                   "",
		parent + "-00":                       "", // version 00 has no more
		"traceparent=" + parent[:54] + "000": "",
		"traceparent=" + parent + ";a=b":     parent,
		"/*traceparent=" + parent + "*/":     parent,
		"01" + parent[2:] + "-later":         "01" + parent[2:],
		"01" + parent[2:] + "later":          "",
		"traceparent=":                       "",
		"traceparent=00-0af7651916cd43dd":    "",
		"orders " + parent:                   "",
		strings.Repeat("a", 55):              "",
		strings.Repeat("traceparent=", 1000): "",
	} {
		if got := tracing.FindTraceparent(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzFindTraceparent(f *testing.F) {
	f.Add("traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'")
	f.Fuzz(func(t *testing.T, text string) {
		if got := tracing.FindTraceparent(text); got != "" && (len(got) != 55 || !strings.Contains(text, got)) {
			t.Errorf("%q in %q", got, text)
		}
	})
}

func TestParseEndpoint(t *testing.T) {
	for text, ok := range map[string]bool{
		"http://127.0.0.1:4318":       true,
		"https://traces.example/base": true,
		"http://[::1]:4318":           true,
		"127.0.0.1:4318":              false,
		"grpc://traces.example":       false,
		"http://":                     false,
		"http://:4318":                false,
		"http://u:planted@a":          false,
		"http://a?token=planted":      false,
		"http://a#planted":            false,
		"http://a\nplanted":           false,
	} {
		u, err := tracing.ParseEndpoint(text)
		if (err == nil) != ok || ok && u.String() != text {
			t.Errorf("%q: %v, %v", text, u, err)
		}
		if err != nil && strings.Contains(err.Error(), "planted") {
			t.Errorf("%q: the error says %v", text, err)
		}
	}
}
