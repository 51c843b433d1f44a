// Package admin is the HTTP side of credproxy: health, metrics, status, control.
//
//	GET  /startup        200 once the listeners are open
//	GET  /readiness      200 while credproxy can log clients in
//	GET  /liveness       200 while the process can answer
//	GET  /metrics        Prometheus metrics
//	GET  /               what credproxy knows, for people
//	GET  /status         the same as JSON
//	POST /quitquitquit   start the drain
//	POST /upgrade        have a new process take over
//	POST /break-glass    use the emergency credential, or stop using it
//	     /debug/pprof/   profiles of the process
//
// A health check that fails answers 503 with a JSON body that says why. The last four
// are control. They are for the users that [State].MayControl lets, on a socket of their
// own ([ControlServer]), and beside the others over loopback, whatever address the server
// listens on, and not for a web page in a browser; see guarded.
//
// Invariant: no answer holds a secret. The package knows no database: it asks
// the functions it is given.
package admin

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// State is what the server asks and does. Started, Ready and Status must be set.
type State struct {
	// Started and Ready return the reasons why not; none means yes.
	Started func() []string
	Ready   func() []string
	Status  func() Status
	// MayControl returns why the user at the other end of a connection may not control.
	// Nil: nobody may.
	MayControl func(net.Conn) error
	// Quit starts the drain and returns at once.
	Quit func()
	// Upgrade has a new process take over and returns when it has; timeout is how long that
	// may take to be ready, 0: [UpgradeTimeout]. The caller of the endpoint reads its error.
	Upgrade func(ctx context.Context, timeout time.Duration) (Upgraded, error)
	// BreakGlass does what the request says. The caller of the endpoint reads its
	// error. Nil: no database has an emergency credential.
	BreakGlass func(BreakGlassRequest) error
}

// Server returns the HTTP server for state and metrics, with every timeout set.
// The caller gives it a listener.
func Server(state State, metrics http.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /startup", health(state.Started))
	mux.Handle("GET /readiness", health(state.Ready))
	mux.Handle("GET /liveness", health(func() []string { return nil }))
	mux.Handle("GET /metrics", unrebound(metrics))
	mux.Handle("GET /{$}", unrebound(page(state.Status)))
	mux.Handle("GET /status", unrebound(status(state.Status)))
	control(mux, state, guarded)
	return server(mux)
}

// ControlServer returns the HTTP server for control alone, for a unix socket.
func ControlServer(state State) *http.Server {
	mux := http.NewServeMux()
	control(mux, state, func(next http.Handler) http.Handler { return next })
	return server(mux)
}

// control adds what only some users may do, behind what guard lets pass.
func control(mux *http.ServeMux, state State, guard func(http.Handler) http.Handler) {
	for pattern, do := range map[string]http.HandlerFunc{
		"POST /quitquitquit":       quit(state.Quit),
		"POST /upgrade":            upgrade(state.Upgrade),
		"POST /break-glass":        breakGlass(state.BreakGlass),
		"GET /debug/pprof/":        pprof.Index,
		"GET /debug/pprof/profile": pprof.Profile,
		"GET /debug/pprof/symbol":  pprof.Symbol,
		"POST /debug/pprof/symbol": pprof.Symbol, // go tool pprof posts to it
		"GET /debug/pprof/trace":   pprof.Trace,
	} {
		mux.Handle(pattern, guard(allowed(state.MayControl, do)))
	}
}

func server(mux *http.ServeMux) *http.Server {
	return &http.Server{
		Handler:           http.MaxBytesHandler(headers(mux), 64<<10),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		ConnContext:    func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
}

// headers sets what every answer carries: nothing here is to be kept, framed,
// guessed at or read by another origin.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

func health(whyNot func() []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		code, reasons := http.StatusOK, whyNot()
		if len(reasons) > 0 {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, reasons...)
	})
}

func status(now func() Status) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(now())
	})
}
