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
	// flushTimeout bounds the sending of what is left at the end; leastFlush is for when no time
	// is left.
	flushTimeout = 3 * time.Second
	leastFlush   = 250 * time.Millisecond
)

// Exporter sends traces. A nil one is that of a process without: nothing of the SDK runs.
type Exporter struct {
	log      *zap.Logger
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	queue    chan endedLogin
	leftOut  atomic.Int64 // traces that there was no room for
	stop     chan struct{}
	giveUp   context.CancelCauseFunc // of what is being sent
	running  sync.WaitGroup
	closing  sync.Once
	closeBy  atomic.Pointer[time.Time] // of CloseWithin; nil: nobody is in a hurry
}

// endedLogin is a login that has ended, of a database.
type endedLogin struct {
	database string
	trace    *tracing.Trace
}

// Options are what [Start] needs.
type Options struct {
	Endpoint string // of the configuration, which has checked it; "": the environment's
	Version  string // of credproxy
	Log      *zap.Logger
}

// Start begins to send traces, if the configuration or the environment says where to, and
// the environment does not turn them off; else it returns nil. A mistake in the environment,
// which may be meant for other programs, is a warning, and there are no traces. Whoever calls it calls Close.
func Start(o Options) *Exporter {
	s, err := read(o.Endpoint)
	if err == nil && s.url == "" {
		return nil
	}
	// The SDK's own log is one of the whole process. What it would say there is said in o.Log: of
	// mistakes in its environment by checkSDK, of what cannot be sent by reporter.
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	var about *resource.Resource
	if err == nil {
		err = checkSDK()
	}
	if err == nil {
		about, err = readResource(o.Version)
	}
	if err != nil {
		o.Log.Warn("there are no traces", zap.Error(err))
		return nil
	}
	e := &Exporter{log: o.Log, queue: make(chan endedLogin, maxQueue), stop: make(chan struct{})}
	closed, giveUp := context.WithCancelCause(context.Background())
	e.giveUp = giveUp
	sender := &reporter{Exporter: otlptrace.NewUnstarted(newClient(s, closed)), log: o.Log, leftOut: &e.leftOut}
	_ = sender.Start(closed)                                                                                 // the client's never fails
	e.provider = sdk.NewTracerProvider(sdk.WithResource(about), sdk.WithBatcher(sender, sdk.WithBlocking())) // it is ours to leave out whole traces
	e.tracer = e.provider.Tracer("github.com/credproxy/credproxy", trace.WithInstrumentationVersion(o.Version), trace.WithSchemaURL(semconv.SchemaURL))
	o.Log.Info("traces are sent", zap.String("endpoint", s.url), zap.String("sampler", strings.ToLower(os.Getenv("OTEL_TRACES_SAMPLER"))))
	e.running.Go(e.run)
	return e
}

// For returns what takes the logins of a database when they have ended, nil if e is nil. It
// never waits.
func (e *Exporter) For(database string) func(*tracing.Trace) {
	if e == nil {
		return nil
	}
	return func(t *tracing.Trace) {
		select {
		case e.queue <- endedLogin{database, t}:
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

// CloseWithin has Close end when d has passed from now, or 250 ms after it has begun.
func (e *Exporter) CloseWithin(d time.Duration) {
	if e != nil {
		e.closeBy.Store(new(time.Now().Add(d)))
	}
}

// Close sends what is left, for 3 s at most. No login may end after it has begun. To close it
// again does nothing.
func (e *Exporter) Close() {
	if e == nil {
		return
	}
	left := flushTimeout
	if by := e.closeBy.Load(); by != nil {
		left = min(left, max(leastFlush, time.Until(*by)))
	}
	e.closing.Do(func() {
		late := time.AfterFunc(left, func() { e.giveUp(errClosing) })
		close(e.stop)
		e.running.Wait()
		_ = e.provider.Shutdown(context.Background()) // what fails was told
		late.Stop()
		e.giveUp(errClosing)
	})
}
