package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// repairTime is how long after its cause has gone an error may last: a few
// seconds, so that a wrong credential is not looked up for every client.
const repairTime = 15 * time.Second

// watched is a running credproxy at log level debug. At the test's end none of
// the planted secrets may stand in its log, in an answer of its admin server or
// in what it told a client.
type watched struct {
	*sidecar.Proxy
	planted []string

	mu   sync.Mutex
	told []string // to clients
}

func watch(t testing.TB, o sidecar.Options, planted ...string) *watched {
	t.Helper()
	if o.Binary == "" {
		o.Binary = binary
	}
	o.Debug = true
	w := &watched{Proxy: sidecar.Run(t, o, planted...), planted: planted}
	t.Cleanup(func() { w.check(t) })
	return w
}

func (w *watched) check(t testing.TB) {
	for _, path := range []string{"/metrics", "/readiness", "/startup", "/liveness", "/status", "/",
		"/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/debug/pprof/heap?debug=1", "/no-such-page"} {
		_, body, err := w.Get(path)
		if err != nil {
			break // a test of shutdown has ended it
		}
		w.mustNotShow(t, path, body)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, told := range w.told {
		w.mustNotShow(t, "what a client was told", told)
	}
}

func (w *watched) mustNotShow(t testing.TB, what, text string) {
	for _, s := range w.planted {
		if strings.Contains(text, s) {
			t.Errorf("%s shows the secret %s:\n%s", what, s, text)
		}
	}
}

// logIn logs in to a database through a listener and leaves again.
func (w *watched) logIn(ctx context.Context, addr, database string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("postgres://anybody@%s/%s?sslmode=disable", addr, database))
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, err.Error())
		if e := new(pgconn.PgError); errors.As(err, &e) {
			w.told = append(w.told, fmt.Sprintf("%+v", *e))
		}
		return err
	}
	defer conn.Close(ctx)
	return conn.Ping(ctx)
}

// refused is the error that a login through the listener of a configured
// database ends with.
func (w *watched) refused(t testing.TB, name, database string) *pgconn.PgError {
	t.Helper()
	err := w.logIn(t.Context(), w.Addr(t, name), database)
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		t.Fatalf("login at %s: %v, want an error of the protocol", name, err)
	}
	if e.Severity != "FATAL" {
		t.Errorf("login at %s: severity %s of %v", name, e.Severity, e)
	}
	return e
}

// recovers waits until logins through a listener work.
func (w *watched) recovers(t testing.TB, name, database string) {
	t.Helper()
	deadline := time.Now().Add(repairTime)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := w.logIn(t.Context(), w.Addr(t, name), database)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("login at %s still fails: %v", name, err)
		}
		<-again.C
	}
}

// ours checks an error that credproxy itself made: its code, the start of its
// message, a hint, and nothing that is only for the log.
func (w *watched) ours(t testing.TB, e *pgconn.PgError, code, message string) {
	t.Helper()
	if e.Code != code || !strings.HasPrefix(e.Message, "credproxy: ") || !strings.Contains(e.Message, message) {
		t.Errorf("client is told %s: %s\nwant %s: credproxy: ...%s", e.Code, e.Message, code, message)
	}
	if e.Hint == "" {
		t.Errorf("no hint with %q", e.Message)
	}
	text := e.Message + e.Hint + e.Detail
	for _, private := range []string{awsstub.AccountID, "arn:", "/tmp", "/var", "goroutine", ".go:"} {
		if strings.Contains(text, private) {
			t.Errorf("client is told %q, which holds %q", text, private)
		}
	}
}

// logged reports whether a line about a database holds all of parts.
func (w *watched) logged(name string, parts ...string) bool {
	for line := range strings.Lines(w.Log()) {
		if strings.Contains(line, fmt.Sprintf(`"database":%q`, name)) && containsAll(line, parts) {
			return true
		}
	}
	return false
}

// failure checks the log's line about a failed login. The client may have heard
// of it a moment earlier.
func (w *watched) failure(t testing.TB, name string, parts ...string) {
	t.Helper()
	parts = append(parts, `"msg":"session failed"`)
	if !eventually(10*time.Second, func() bool { return w.logged(name, parts...) }) {
		t.Errorf("no line about database %s with %q", name, parts)
	}
}

func (w *watched) ready(t testing.TB) (ready bool, body string) {
	t.Helper()
	code, body, err := w.Get("/readiness")
	if err != nil {
		t.Fatal(err)
	}
	return code == http.StatusOK, body
}

func containsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// eventually reports whether cond becomes true in time.
func eventually(limit time.Duration, cond func() bool) bool {
	deadline := time.Now().Add(limit)
	for again := time.NewTicker(20 * time.Millisecond); ; <-again.C {
		if cond() {
			again.Stop()
			return true
		}
		if time.Now().After(deadline) {
			again.Stop()
			return false
		}
	}
}
