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
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/secrets"
)

const namespace = "credproxy"

// Metrics is the registry of one process.
type Metrics struct {
	Registry *prometheus.Registry
	draining prometheus.Gauge
}

// New makes a registry with the metrics of the process and of the Go runtime.
func New() *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry(), draining: prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "draining", Help: "1 while credproxy shuts down and takes no new sessions.",
	})}
	m.Registry.MustRegister(m.draining, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Draining says that credproxy shuts down.
func (m *Metrics) Draining() { m.draining.Set(1) }

// Database holds the metrics of one database. It implements [proxy.Observer].
type Database struct {
	reg prometheus.Registerer

	sessions  *prometheus.CounterVec
	phases    *prometheus.HistogramVec
	cancels   *prometheus.CounterVec
	attempts  *prometheus.CounterVec
	refreshes *prometheus.CounterVec
	apiCalls  *prometheus.CounterVec
	rotations prometheus.Counter
	stale     prometheus.Counter
	up        prometheus.Gauge
}

// loginBuckets reach from a local login to login_timeout and a rotation's grace,
// in seconds.
var loginBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 90}

// Database makes the metrics of the database called name. Each name may be used
// once.
func (m *Metrics) Database(name string) *Database {
	d := &Database{
		reg:       prometheus.WrapRegistererWith(prometheus.Labels{"database": name}, m.Registry),
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
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "upstream_up", Help: "1 if the last login that tried reached the database, 0 if it did not.",
		}),
	}
	d.reg.MustRegister(d.sessions, d.phases, d.cancels, d.attempts, d.refreshes, d.apiCalls, d.rotations, d.stale, d.up)
	return d
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// Observe adds the metrics that are read off a running server and its cache.
func (d *Database) Observe(s *proxy.Server, credential func() secrets.Status) {
	d.reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: namespace, Name: "connections_active", Help: "Sessions that are logged in or logging in.",
		}, func() float64 { return float64(s.Active()) }),
		relayBytes("to_upstream", func() float64 { return float64(s.Traffic.ToUpstream.Load()) }),
		relayBytes("to_client", func() float64 { return float64(s.Traffic.ToClient.Load()) }),
		credentialCollector{credential},
	)
}

func relayBytes(direction string, f func() float64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "relay_bytes_total", Help: "Bytes relayed after login.",
		ConstLabels: prometheus.Labels{"direction": direction},
	}, f)
}

// SessionEnded implements proxy.Observer.
func (d *Database) SessionEnded(kind proxy.Kind, _ string) {
	d.sessions.WithLabelValues(string(kind)).Inc()
	switch kind {
	case proxy.Unreachable, proxy.UpstreamTLS, proxy.UpstreamBroken:
		d.up.Set(0)
	}
}

// LoginPhase implements proxy.Observer.
func (d *Database) LoginPhase(phase string, t time.Duration) {
	d.phases.WithLabelValues(phase).Observe(t.Seconds())
	if phase == "auth" {
		d.up.Set(1)
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
		d.refreshes.WithLabelValues(e.Reason, "unchanged").Inc()
	case secrets.Rotated:
		d.rotations.Inc()
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

// credentialCollector describes the credential that the next login offers first.
type credentialCollector struct{ status func() secrets.Status }

var (
	versionDesc = prometheus.NewDesc(namespace+"_credential_version_info",
		"1, with the first 8 characters of the id of the credential's version.", []string{"version"}, nil)
	ageDesc = prometheus.NewDesc(namespace+"_credential_age_seconds",
		"Time since the credential's source last confirmed it.", nil, nil)
	breakerDesc = prometheus.NewDesc(namespace+"_source_breaker_open",
		"1 while the credential's source fails so often that it is asked only now and then.", nil, nil)
	emergencyDesc = prometheus.NewDesc(namespace+"_break_glass_active",
		"1 while logins use the emergency credential.", nil, nil)
)

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c credentialCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- versionDesc
	ch <- ageDesc
	ch <- breakerDesc
	ch <- emergencyDesc
}

func (c credentialCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.status()
	ch <- prometheus.MustNewConstMetric(breakerDesc, prometheus.GaugeValue, oneIf(s.SourceLeftAlone))
	ch <- prometheus.MustNewConstMetric(emergencyDesc, prometheus.GaugeValue, oneIf(s.Emergency != nil))
	if s.First == nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(versionDesc, prometheus.GaugeValue, 1, s.First.ShortVersion())
	ch <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, time.Since(s.Since).Seconds())
}
