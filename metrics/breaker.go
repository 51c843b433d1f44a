package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// breakerGauge is 1 while a database is left alone.
func breakerGauge() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "database_breaker_open",
		Help: "1 while the database cannot be reached, so that logins fail at once but for one trial at a time.",
	})
}

// DatabaseBreaker says whether the breaker in front of the database is open.
func (d *Database) DatabaseBreaker(open bool) { d.breaker.Set(oneIf(open)) }
