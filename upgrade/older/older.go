// Package older is what a process asks those of before its upgrades, which keep their sessions:
// to cancel a query, how many sessions they have, their metrics.
//
// Invariant: an older process that does not answer costs whoever asked a bounded time, and
// what it would have said.
//
// Both sides are here, since they must agree: [Processes] asks, [Self.Handler] answers. How they
// reach each other is package upgrade's.
package older

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/metrics"
	"github.com/credproxy/credproxy/upgrade"
)

const (
	pathMetrics = "/metrics"
	pathState   = "/state"
	pathCancel  = "/cancel"
	pathQuit    = "/quit"
	pathEnd     = "/end-break-glass"
)

// patience bounds the questions for which somebody waits who has time-outs of his own:
// Prometheus, a browser.
const patience = 2 * time.Second

// unknown is what becomes of a cancel request with the key of no session.
const unknown = "unknown"

// Self is what an older process tells of itself.
type Self struct {
	Log     *zap.Logger
	Metrics prometheus.Gatherer
	State   func() admin.Predecessor
	// Cancel forwards a cancel request of PostgreSQL and returns what became of it: "forwarded",
	// "unknown" or "failed".
	Cancel func(ctx context.Context, request []byte) (result string, err error)
	// Quit begins the drain: the process that serves is about to end.
	Quit func()
	// EndBreakGlass ends the emergency of a database, "" of all.
	EndBreakGlass func(database string)
}

// Handler answers what later processes ask.
func (s Self) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+pathMetrics, promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET "+pathState, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(s.State()) })
	mux.HandleFunc("POST "+pathCancel, func(w http.ResponseWriter, r *http.Request) {
		request, err := io.ReadAll(r.Body) // which is capped
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		result, err := s.Cancel(r.Context(), request)
		if err != nil {
			s.Log.Warn("cancel request not forwarded", zap.Error(err))
		}
		_, _ = io.WriteString(w, result)
	})
	mux.HandleFunc("POST "+pathEnd, func(w http.ResponseWriter, r *http.Request) {
		database, err := io.ReadAll(r.Body) // which is capped
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.EndBreakGlass(string(database))
	})
	mux.HandleFunc("POST "+pathQuit, func(http.ResponseWriter, *http.Request) { s.Quit() })
	return mux
}

// Processes are the older ones.
type Processes struct {
	*upgrade.Predecessors // nil: there are none
	Log                   *zap.Logger
}

// Quit has all begin their drain.
func (p Processes) Quit() { p.tell(pathQuit, "") }

// EndBreakGlass ends the emergency of a database in all, "" of all databases.
func (p Processes) EndBreakGlass(database string) { p.tell(pathEnd, database) }

func (p Processes) tell(path, what string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, a := range p.Ask(ctx, http.MethodPost, path, []byte(what)) {
		if a.Err != nil {
			p.Log.Warn("an older process has not been told", zap.String("what", path), zap.Int("pid", a.PID), zap.Error(a.Err))
		}
	}
}

// Cancel hands a cancel request of PostgreSQL on, and returns what became of it: at once when one
// process has the session.
func (p Processes) Cancel(ctx context.Context, request []byte) (result string) {
	result = unknown
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for a := range p.AskEach(ctx, http.MethodPost, pathCancel, request) {
		switch got := string(a.Body); {
		case got == "forwarded":
			return got
		case a.Err != nil:
			p.Log.Warn("an older process cannot be asked whose session is to be cancelled", zap.Int("pid", a.PID), zap.Error(a.Err))
		case got == "failed":
			result = got
		}
	}
	return result
}

// States returns what the status shows.
func (p Processes) States() (all []admin.Predecessor) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, a := range p.Ask(ctx, http.MethodGet, pathState, nil) {
		state := admin.Predecessor{PID: a.PID}
		if a.Err == nil {
			a.Err = json.Unmarshal(a.Body, &state)
		}
		if a.Err != nil {
			state = admin.Predecessor{PID: a.PID, Error: "it does not answer"}
		}
		all = append(all, state)
	}
	return all
}

// Metrics returns those of all that answer.
func (p Processes) Metrics() (all []metrics.Older) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, a := range p.Ask(ctx, http.MethodGet, pathMetrics, nil) {
		if a.Err == nil {
			all = append(all, metrics.Older{Number: a.Number, Text: a.Body})
		}
	}
	return all
}
