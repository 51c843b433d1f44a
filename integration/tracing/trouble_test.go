package tracing_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestReceiverInTrouble has logins through four credproxies side by side: without traces, and
// with a receiver that is away, says nothing, or refuses. None fails, and none takes as long as
// a wait for the receiver would: a request to it has 10 s. The figures are in the log, for
// whoever compares them.
func TestReceiverInTrouble(t *testing.T) {
	pg, secret := postgres(t, 15)
	hold := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(hold) })
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "wrong key: "+r.Header.Get("Api-Key"), http.StatusForbidden)
	}))
	t.Cleanup(refuses.Close)
	away := httptest.NewServer(nil)
	away.Close()
	type contender struct {
		name, endpoint string
		stand          *stand
		took           []time.Duration
	}
	contenders := []*contender{{name: "without"}, {name: "away", endpoint: away.URL}, {name: "silent", endpoint: silent.URL}, {name: "refuses", endpoint: refuses.URL}}
	started := time.Now()
	for _, c := range contenders {
		s := &stand{aws: startAWS(t, secret)}
		// Queues are full after few logins.
		env := append(s.aws.Env(), "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_BSP_MAX_QUEUE_SIZE=32", "OTEL_EXPORTER_OTLP_HEADERS=api-key="+headerValue)
		s.proxy = sidecar.Run(t, sidecar.Options{Binary: binary, Config: config("postgres", pg.CAFile, c.endpoint), Env: env}, appPassword, headerValue)
		s.addr, c.stand = s.proxy.Addr(t, "orders"), s
		s.proxy.AwaitLog(t, "probe succeeded")
	}
	const logins = 700 // more than all queues have room for
	var all sync.WaitGroup
	for _, c := range contenders {
		all.Go(func() {
			for range logins {
				began := time.Now()
				conn, err := c.stand.connect(t.Context(), "")
				c.took = append(c.took, time.Since(began))
				if err == nil {
					err = conn.Close(t.Context())
				}
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
					return
				}
			}
		})
	}
	if all.Wait(); t.Failed() {
		return
	}
	for _, c := range contenders {
		slices.Sort(c.took)
		t.Logf("%-8s median %v, 99 of 100 within %v, the slowest %v", c.name, c.took[logins/2], c.took[logins*99/100], c.took[logins-1])
		if slowest := c.took[logins-1]; slowest > 5*time.Second {
			t.Errorf("%s: a login took %v", c.name, slowest)
		}
	}
	for _, c := range contenders[1:] {
		began := time.Now()
		code := c.stand.proxy.Stop()
		if took := time.Since(began); code != 0 || took > 8*time.Second { // of which 3 s are for what is left
			t.Errorf("%s: the end took %v, with status %d", c.name, took, code)
		}
		log := c.stand.proxy.Log()
		most := 1 + int(time.Since(started)/time.Minute) // how often it is told
		if n := strings.Count(log, "traces cannot be sent; logins do not wait for them"); n < 1 || n > most {
			t.Errorf("%s: the log says %d times that traces cannot be sent, wanted 1 to %d", c.name, n, most)
		}
	}
}

// TestMistakes has a mistake in the configuration end the start, and what is wrong said without
// what it holds.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"collector:4318": "tracing.endpoint: not the URL of an OTLP receiver",
		"http://me:" + headerValue + "@collector:4318": "tracing.endpoint: the URL of an OTLP receiver has no user",
	} {
		p, err := sidecar.Start(sidecar.Options{Binary: binary, Config: config("postgres", "", endpoint)})
		must(t, err)
		if code, log := p.Wait(), p.Log(); code != 2 || !strings.Contains(log, want) || strings.Contains(log, headerValue) {
			t.Errorf("%s: status %d: %s", endpoint, code, log)
		}
	}
}

// TestMistakesInTheEnvironment has the environment of a pod that is meant for another program:
// clients get their sessions all the same, and the log says why there are no traces.
func TestMistakesInTheEnvironment(t *testing.T) {
	t.Parallel()
	pg, secret := postgres(t, 15)
	for env, want := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317":                          "OTEL_EXPORTER_OTLP_ENDPOINT: not the URL of an OTLP receiver",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://me:" + headerValue + "@collector": "OTEL_EXPORTER_OTLP_ENDPOINT: the URL of an OTLP receiver has no user",
		"OTEL_EXPORTER_OTLP_HEADERS=" + headerValue:                           "OTEL_EXPORTER_OTLP_HEADERS: entry 1 is not name=value",
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                                    "OTEL_EXPORTER_OTLP_PROTOCOL: credproxy speaks http/protobuf alone",
	} {
		s := &stand{aws: startAWS(t, secret)}
		s.proxy = sidecar.Run(t, sidecar.Options{Binary: binary, Config: config("postgres", pg.CAFile, ""),
			Env: append(s.aws.Env(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318", env)}, appPassword, headerValue)
		s.addr = s.proxy.Addr(t, "orders")
		s.visit(t, "")
		if log := s.proxy.Log(); strings.Count(log, "there are no traces") != 1 || !strings.Contains(log, want) {
			t.Errorf("%s: %s", env, log)
		}
	}
}
