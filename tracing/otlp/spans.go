package otlp

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/tracing"
)

// export makes the spans of a login, and hands them to the SDK, unless its sampler does not
// want them. It waits while the SDK's queue is full.
func (e *Exporter) export(t endedLogin) {
	ctx := context.Background()
	if parent := t.trace.Parent; parent != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent}) // as it was if that is malformed
	}
	contexts, spans := make([]context.Context, len(t.trace.Spans)), make([]trace.Span, len(t.trace.Spans))
	for i, r := range t.trace.Spans {
		in, kind := ctx, trace.SpanKindClient // to the database, on behalf of a client
		about := append(make([]attribute.KeyValue, 0, len(r.Attributes)+4), attribute.String("credproxy.database", t.database))
		if i > 0 {
			in, kind, about = contexts[r.Parent], trace.SpanKindInternal, about[:0]
		} else if t.trace.LeftOut > 0 {
			about = append(about, attribute.Int("credproxy.spans_left_out", t.trace.LeftOut))
		}
		about = append(about, attributes(r)...)
		contexts[i], spans[i] = e.tracer.Start(in, r.Name, trace.WithTimestamp(r.Start), trace.WithSpanKind(kind), trace.WithAttributes(about...))
		if i == 0 && !spans[0].IsRecording() {
			return
		}
		if r.Err != nil {
			spans[i].SetStatus(codes.Error, tracing.Clip(fault.As(r.Err).Message))
		}
	}
	for i := len(spans) - 1; i >= 0; i-- { // the login comes last, as whoever follows along expects
		spans[i].End(trace.WithTimestamp(t.trace.Spans[i].End))
	}
}

// attributes are those of a record, with what its error says. The error's cause is for the log
// alone: it may name accounts and paths.
func attributes(r tracing.Record) []attribute.KeyValue {
	var all []attribute.KeyValue
	for _, a := range r.Attributes {
		switch v := a.Value.(type) {
		case string:
			all = append(all, attribute.String(a.Key, v))
		case int64:
			all = append(all, attribute.Int64(a.Key, v))
		case bool:
			all = append(all, attribute.Bool(a.Key, v))
		}
	}
	if r.Err == nil {
		return all
	}
	all = append(all, semconv.ErrorTypeKey.String(string(fault.As(r.Err).Kind)))
	if said, ok := errors.AsType[coded](r.Err); ok && said.StatusCode() != "" {
		all = append(all, semconv.DBResponseStatusCode(tracing.Clip(said.StatusCode())))
	}
	return all
}

// coded is an error that the database gave.
type coded interface {
	error
	StatusCode() string // SQLSTATE of PostgreSQL, error number of MySQL and MariaDB
}
