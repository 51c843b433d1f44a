package otlp

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// tellEvery is how often the log says that traces cannot be sent.
const tellEvery = time.Minute

// told is an exporter whose failures the log tells of: the first, then once a minute what
// was lost since, and that it is over. The SDK's processor calls it from one goroutine.
type told struct {
	*otlptrace.Exporter
	log     *zap.Logger
	leftOut *atomic.Int64 // traces that there was no room for

	failing bool
	next    time.Time // when to tell again
	lost    int       // spans, since it was told
}

// ExportSpans implements sdk.SpanExporter. A failure ends here.
func (t *told) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err, now := t.Exporter.ExportSpans(ctx, spans), time.Now()
	switch {
	case err != nil:
		lost := len(spans)
		if n, ok := errors.AsType[rejectedError](err); ok {
			lost = min(lost, int(n))
		}
		t.lost += lost
		if !t.failing || now.After(t.next) {
			t.log.Warn("traces cannot be sent; logins do not wait for them", append(t.missing(), zap.Error(err))...)
			t.next = now.Add(tellEvery)
		}
		t.failing = true
	case t.failing:
		t.failing = false
		t.log.Info("traces can be sent again", t.missing()...)
	case t.leftOut.Load() > 0 && now.After(t.next):
		t.log.Warn("traces were left out: the receiver is slower than logins", t.missing()...)
		t.next = now.Add(tellEvery)
	}
	return nil
}

// missing tells what was lost since it was asked last.
func (t *told) missing() []zap.Field {
	fields := []zap.Field{zap.Int("spans_lost", t.lost), zap.Int64("logins_left_out", t.leftOut.Swap(0))}
	t.lost = 0
	return fields
}
