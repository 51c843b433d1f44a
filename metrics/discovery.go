package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Discovery counts what credproxy asks AWS for the databases of accounts. It implements the
// observer that package discovery declares.
type Discovery struct {
	calls, answers     *prometheus.CounterVec
	databases, success *prometheus.GaugeVec
}

// Discovery adds the metrics of discovery, once.
func (m *Metrics) Discovery() *Discovery {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, []string{"region", "role"})
	}
	d := &Discovery{
		calls:     counterVec("discovery_api_calls_total", "Calls to AWS for databases, by operation.", "region", "role", "operation", "result"),
		answers:   counterVec("discovery_answers_total", "Rounds of these calls; only those with result ok change anything.", "region", "role", "result"),
		databases: gauge("discovery_databases", "Databases that were found and are served."),
		success:   gauge("discovery_last_success_timestamp_seconds", "When AWS last told all, in seconds since 1970."),
	}
	m.Registry.MustRegister(d.calls, d.answers, d.databases, d.success)
	return d
}

// Called counts one call.
func (d *Discovery) Called(region, role, operation, result string) {
	d.calls.WithLabelValues(region, role, operation, result).Inc()
}

// Answered counts one round of calls.
func (d *Discovery) Answered(region, role, result string) {
	d.answers.WithLabelValues(region, role, result).Inc()
	if result == "ok" {
		d.success.WithLabelValues(region, role).Set(float64(time.Now().UnixMilli()) / 1000)
	}
}

// Found says how many databases of an account are served.
func (d *Discovery) Found(region, role string, databases int) {
	d.databases.WithLabelValues(region, role).Set(float64(databases))
}

// Forget takes back the gauges of an account that is asked no more.
func (d *Discovery) Forget(region, role string) {
	d.databases.DeleteLabelValues(region, role)
	d.success.DeleteLabelValues(region, role)
}
