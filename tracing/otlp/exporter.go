package otlp

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/tracing"
)

const (
	// maxQueue is how many logins wait to be made spans of. Behind it there is the SDK's queue,
	// of 2048 spans unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise.
	maxQueue = 512
	// flushTimeout bounds the sending of what is left at the end.
	flushTimeout = 3 * time.Second
)

// Exporter sends traces. A nil one is that of a process without: nothing of the SDK runs.
type Exporter struct {
	log      *zap.Logger
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	queue    chan ended
	leftOut  atomic.Int64 // traces that there was no room for
	stop     chan struct{}
	giveUp   context.CancelCauseFunc // of what is being sent
	running  sync.WaitGroup
}

// ended is a login that has ended, of a database.
type ended struct {
	database string
	trace    *tracing.Trace
}

// Options are what [Start] needs.
type Options struct {
	Endpoint string // of the configuration; "": the environment's
	Version  string // of credproxy
	Log      *zap.Logger
}

// Start begins to send traces, if the configuration or the environment says where to, and
// the environment does not turn them off; else it returns nil. Whoever calls it calls Close.
// An error names the key or the variable that it lies in.
func Start(o Options) (*Exporter, error) {
	url, err := endpoint(o.Endpoint)
	if err != nil || url == "" || disabled() {
		return nil, err
	}
	s, err := read(url)
	if err != nil {
		return nil, err
	}
	if protocol, from := variable("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		o.Log.Warn("traces are sent as http/protobuf alone: is the endpoint one of OTLP over HTTP, by default port 4318?", zap.String(from, protocol))
	}
	e := &Exporter{log: o.Log, queue: make(chan ended, maxQueue), stop: make(chan struct{})}
	closed, giveUp := context.WithCancelCause(context.Background())
	e.giveUp = giveUp
	// The SDK tells of mistakes in its own environment through these alone.
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { o.Log.Warn("the OpenTelemetry SDK", zap.Error(err)) }))
	about, err := resource.New(context.Background(),
		resource.WithAttributes(semconv.ServiceName("credproxy"), semconv.ServiceVersion(o.Version)), resource.WithFromEnv())
	if err != nil {
		return nil, errors.Join(errors.New("OTEL_RESOURCE_ATTRIBUTES"), err)
	}
	sender := &told{Exporter: otlptrace.NewUnstarted(newClient(s, closed)), log: o.Log, leftOut: &e.leftOut}
	if err := sender.Start(closed); err != nil {
		return nil, err
	}
	e.provider = sdk.NewTracerProvider(sdk.WithResource(about), sdk.WithBatcher(sender, sdk.WithBlocking())) // it is ours to leave out whole traces
	e.tracer = e.provider.Tracer("github.com/credproxy/credproxy", trace.WithInstrumentationVersion(o.Version), trace.WithSchemaURL(semconv.SchemaURL))
	o.Log.Info("traces are sent", zap.String("endpoint", url), zap.String("sampler", strings.ToLower(os.Getenv("OTEL_TRACES_SAMPLER"))))
	e.running.Go(e.run)
	return e, nil
}

// For returns what takes the logins of a database when they have ended, nil if e is nil. It
// never waits.
func (e *Exporter) For(database string) func(*tracing.Trace) {
	if e == nil {
		return nil
	}
	return func(t *tracing.Trace) {
		select {
		case e.queue <- ended{database, t}:
		default:
			e.leftOut.Add(1)
		}
	}
}

// run makes spans of what is in the queue.
func (e *Exporter) run() {
	for {
		select {
		case t := <-e.queue:
			e.export(t)
		case <-e.stop:
			for {
				select {
				case t := <-e.queue:
					e.export(t)
				default:
					return
				}
			}
		}
	}
}

// errClosing is why what is left at the end was not sent.
var errClosing = errors.New("credproxy ends")

// Close sends what is left, for 3 s at most. No login may end after it has begun.
func (e *Exporter) Close() {
	if e == nil {
		return
	}
	late := time.AfterFunc(flushTimeout, func() { e.giveUp(errClosing) })
	close(e.stop)
	e.running.Wait()
	_ = e.provider.Shutdown(context.Background()) // what fails was told
	late.Stop()
	e.giveUp(errClosing)
}
