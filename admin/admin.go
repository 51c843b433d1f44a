// Package admin is the HTTP side of credproxy: probes and metrics.
//
//	/startup    200 once the listeners are open
//	/readiness  200 while credproxy can log clients in
//	/liveness   200 while the process can answer
//	/metrics    Prometheus metrics
//
// A probe that fails answers 503 with a JSON body that says why. The package
// knows no database and no secret: it asks the functions it is given.
package admin

import (
	"encoding/json"
	"net/http"
	"time"
)

// State is what the probes report. Each function returns the reasons why not;
// none means yes.
type State struct {
	Started func() []string
	Ready   func() []string
}

// Server returns the HTTP server for state and metrics, with every timeout set.
// The caller gives it a listener.
func Server(state State, metrics http.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /startup", probe(state.Started))
	mux.Handle("GET /readiness", probe(state.Ready))
	mux.Handle("GET /liveness", probe(func() []string { return nil }))
	mux.Handle("GET /metrics", metrics)
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
}

func probe(whyNot func() []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reasons := whyNot()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if len(reasons) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(struct {
			OK      bool     `json:"ok"`
			Reasons []string `json:"reasons,omitempty"`
		}{len(reasons) == 0, reasons})
	})
}
