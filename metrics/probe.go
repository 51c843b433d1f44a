package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/credproxy/credproxy/proxy/fault"
)

// probes are credproxy's own logins.
type probes struct {
	total   *prometheus.CounterVec
	success *prometheus.GaugeVec // without a label; a vector, so that it is not there before the first
}

func newProbes() probes {
	return probes{
		total: counterVec("probe_total", "Logins of credproxy's own, by what came of them.", "result"),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Name: "probe_success", Help: "1 if credproxy's own last login, and what it asked, went well.",
		}, nil),
	}
}

// Probe counts a login of credproxy's own; reached says whether the database took
// a credential.
func (d *Database) Probe(result string, reached, ok bool) {
	d.probes.total.WithLabelValues(result).Inc()
	d.probes.success.WithLabelValues().Set(oneIf(ok))
	if reached || fault.Kind(result).NoReply() {
		d.up.WithLabelValues().Set(oneIf(reached))
	}
}
