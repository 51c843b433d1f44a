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

// reporter is an exporter whose failures the log tells of: the first, then once a minute what
// was lost since, and that it is over. The SDK's processor calls it from one goroutine.
type reporter struct {
	*otlptrace.Exporter
	log     *zap.Logger
	leftOut *atomic.Int64 // traces that there was no room for

	failing bool
	next    time.Time // when to tell again
	lost    int       // spans, since it was told
}

// ExportSpans implements sdk.SpanExporter. A failure ends here.
func (r *reporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err, now := r.Exporter.ExportSpans(ctx, spans), time.Now()
	switch {
	case err != nil:
		lost := len(spans)
		if n, ok := errors.AsType[rejectedError](err); ok {
			lost = int(min(int64(lost), int64(n)))
		}
		r.lost += lost
		if !r.failing || now.After(r.next) {
			r.log.Warn("traces cannot be sent; logins do not wait for them", append(r.missing(), zap.Error(err))...)
			r.next = now.Add(tellEvery)
		}
		r.failing = true
	case r.failing:
		r.failing = false
		r.log.Info("traces can be sent again", r.missing()...)
	case r.leftOut.Load() > 0 && now.After(r.next):
		r.log.Warn("traces were left out: the receiver is slower than logins", r.missing()...)
		r.next = now.Add(tellEvery)
	}
	return nil
}

// missing tells what was lost since it was asked last.
func (r *reporter) missing() []zap.Field {
	fields := []zap.Field{zap.Int("spans_lost", r.lost), zap.Int64("logins_left_out", r.leftOut.Swap(0))}
	r.lost = 0
	return fields
}
