package metrics

import (
	"github.com/credproxy/credproxy/probe"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

// countFromZero makes the counters whose labels have a fixed list of values. A counter that
// first appears with its first event has no value before it: rate and increase of Prometheus
// do not see the first burst of a fresh process.
// https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics
//
// Left out are login_attempts_total and secret_api_calls_total, most of whose values a database
// never has: they depend on its source.
func (d *Database) countFromZero() {
	for _, kind := range fault.Kinds() {
		d.sessions.WithLabelValues(string(kind))
	}
	for _, result := range []string{"forwarded", "unknown", "limited", "failed"} {
		d.cancels.WithLabelValues(result)
	}
	for _, result := range probe.Results() {
		d.probes.total.WithLabelValues(result)
	}
	for _, why := range secrets.FetchReasons() {
		d.refreshes.WithLabelValues(why, "ok")
		d.refreshes.WithLabelValues(why, unchanged)
		for _, failed := range secrets.Reasons() {
			d.refreshes.WithLabelValues(why, string(failed))
		}
	}
}
