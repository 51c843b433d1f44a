// Package metrics counts what the other packages report, as Prometheus metrics.
//
// [New] makes a registry of its own with the metrics of the process;
// [Metrics.Database] adds those of one database, which implement the observers
// that packages proxy and secrets declare.
//
// Invariant: labels take their values from the configuration and from constants
// in the code, never from a client, so the number of series is bounded.
//
// The package serves no HTTP and decides nothing.
package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/credproxy/credproxy/metrics/recent"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

const namespace = "credproxy"

// unchanged is the result of a look that found the version that was held.
const unchanged = "unchanged"

// startTime is the name of the metric that alerts need and that CloudWatch does without.
const startTime = "start_time_seconds"

// Metrics is the registry of one process.
type Metrics struct {
	Registry *prometheus.Registry
	draining prometheus.Gauge
	started  prometheus.Gauge
	reloads  *prometheus.CounterVec

	mu        sync.Mutex
	databases map[string]*Database
}

// New makes a registry with the metrics of the process and of the Go runtime.
func New() *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry(), databases: map[string]*Database{}, draining: prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "draining", Help: "1 while credproxy shuts down and takes no new sessions.",
	})}
	// The process collector has it, too, but not where /proc/stat is hidden (ProcSubset=pid of systemd).
	m.started = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: startTime, Help: "When the process started, in seconds since 1970.",
	})
	m.started.SetToCurrentTime()
	m.reloads = counterVec("config_reload_total", "Times that the configuration was read again, by whether it is in force now.", "result")
	for _, result := range []string{"ok", "refused"} {
		m.reloads.WithLabelValues(result)
	}
	m.Registry.MustRegister(m.draining, m.started, m.reloads, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Draining says that credproxy shuts down.
func (m *Metrics) Draining() { m.draining.Set(1) }

// Reloaded says that the configuration was read again, and whether it is in force.
func (m *Metrics) Reloaded(ok bool) {
	result := "refused"
	if ok {
		result = "ok"
	}
	m.reloads.WithLabelValues(result).Inc()
}

// Database holds the metrics of one database. It implements [proxy.Observer].
type Database struct {
	metrics *Metrics
	name    string
	reg     *registerer
	users   int // calls of Metrics.Database without a Release; metrics.mu guards it
	servers servers

	sessions  *prometheus.CounterVec
	phases    *prometheus.HistogramVec
	cancels   *prometheus.CounterVec
	attempts  *prometheus.CounterVec
	refreshes *prometheus.CounterVec
	apiCalls  *prometheus.CounterVec
	rotations prometheus.Counter
	stale     prometheus.Counter
	up        *prometheus.GaugeVec // without a label; a vector, so that it is not there before the first login
	breaker   prometheus.Gauge
	probes    probes
	pools     *pools
	instances *instances
	recent    *recent.Ring
}

// loginBuckets reach from a local login to login_timeout and a rotation's grace,
// in seconds.
var loginBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 90}

// Database returns the metrics of the database called name, which stay until they
// have been released as often: when a reload changes a database, its metrics go
// on.
func (m *Metrics) Database(name string) *Database {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.databases[name]
	if d == nil {
		d = m.newDatabase(name)
		m.databases[name] = d
	}
	d.users++
	return d
}

func (m *Metrics) newDatabase(name string) *Database {
	d := &Database{
		metrics: m, name: name,
		reg:       &registerer{Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"database": name}, m.Registry)},
		sessions:  counterVec("connections_total", "Client connections that have ended, by how.", "result"),
		cancels:   counterVec("cancel_requests_total", "Cancel requests of clients, by what became of them.", "result"),
		attempts:  counterVec("login_attempts_total", "Credentials offered to the database, by source and staging label.", "source", "stage", "result"),
		refreshes: counterVec("credential_refresh_total", "Fetches of a credential from its source, by why.", "reason", "result"),
		apiCalls:  counterVec("secret_api_calls_total", "Calls to AWS for a credential.", "operation", "result"),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "login_duration_seconds", Help: "Time that the phases of logins took.", Buckets: loginBuckets,
		}, []string{"phase"}),
		rotations: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "credential_rotations_total", Help: "Times that AWSCURRENT was seen to name another version.",
		}),
		stale: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "stale_logins_total", Help: "Logins with a credential that its source could not be asked about.",
		}),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Name: "upstream_up", Help: "1 if the last login that tried reached the database, 0 if it did not.",
		}, nil),
		breaker: breakerGauge(), probes: newProbes(), pools: newPools(), instances: newInstances(), recent: recent.New(),
	}
	d.countFromZero()
	d.reg.MustRegister(d.sessions, d.phases, d.cancels, d.attempts, d.refreshes, d.apiCalls, d.rotations, d.stale, d.up, &d.servers)
	d.reg.MustRegister(d.breaker, d.probes.total, d.probes.success)
	return d
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// SessionEnded implements proxy.Observer.
func (d *Database) SessionEnded(kind fault.Kind, _ string) {
	d.sessions.WithLabelValues(string(kind)).Inc()
	if kind != fault.OK {
		d.recent.Failure()
	}
	if kind.NoReply() {
		d.up.WithLabelValues().Set(0)
	}
}

// LoginPhase implements proxy.Observer.
func (d *Database) LoginPhase(phase string, t time.Duration) {
	d.phases.WithLabelValues(phase).Observe(t.Seconds())
	switch phase {
	case "auth":
		d.up.WithLabelValues().Set(1)
	case "total":
		d.recent.Login(t)
		d.recent.Sessions(d.servers.active())
	}
}

// CancelRequest implements proxy.Observer.
func (d *Database) CancelRequest(result string) { d.cancels.WithLabelValues(result).Inc() }

// Credential counts an event of the database's secret; source is the kind of
// its source.
func (d *Database) Credential(source string, e secrets.Event) {
	switch e.Kind {
	case secrets.Fetched:
		d.refreshes.WithLabelValues(e.Reason, sourceResult(e.Err)).Inc()
	case secrets.Checked:
		d.refreshes.WithLabelValues(e.Reason, unchanged).Inc()
	case secrets.Rotated:
		d.rotations.Inc()
		if e.Credential == nil || e.Credential.Kind() != secrets.Token { // a token is made anew, and is no other credential
			d.recent.Rotated()
		}
	case secrets.Tried:
		result := "accepted"
		switch {
		case secrets.IsRejected(e.Err):
			result = "rejected"
		case e.Err != nil:
			result = "failed"
		}
		d.attempts.WithLabelValues(source, string(e.Stage), result).Inc()
		if e.Stale && e.Err == nil {
			d.stale.Inc()
		}
	}
}

// APICall counts one call to AWS.
func (d *Database) APICall(operation string, err error) {
	d.apiCalls.WithLabelValues(operation, sourceResult(err)).Inc()
}

func sourceResult(err error) string {
	if err == nil {
		return "ok"
	}
	return string(secrets.ReasonOf(err))
}
