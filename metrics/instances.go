package metrics

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/credproxy/credproxy/topology"
)

// instances are the metrics of the servers of a database whose clients want a role.
type instances struct {
	changes  prometheus.Counter
	failover prometheus.Histogram

	mu       sync.Mutex
	observed bool         // once
	all      []servedRole // of the database at work, and before it, after a reload, of those whose sessions are ending
}

// servedRole is what is known of the servers whose clients are a server's.
type servedRole struct {
	of     Server
	status func() topology.Status
}

var (
	instanceWriterDesc = prometheus.NewDesc(namespace+"_instance_writer", "1 for the server that takes writes, as the servers of the database say.", []string{"server"}, nil)
	instanceLagDesc    = prometheus.NewDesc(namespace+"_instance_lag_seconds", "How far a server is behind the writer, as the servers of the database say.", []string{"server"}, nil)
)

func newInstances() *instances {
	return &instances{
		changes: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "writer_changes_total", Help: "Times that another server was found to be the writer."}),
		failover: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "failover_seconds",
			Help: "Time from the first notice that the writer was lost until another one was found.", Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300}}),
	}
}

// WriterChanged says that another server is the writer, the time given after the one before
// was lost.
func (d *Database) WriterChanged(after time.Duration) {
	d.instances.changes.Inc()
	d.instances.failover.Observe(after.Seconds())
}

// ObserveServers adds the metrics of the servers of a database, and reads them off status until
// Release of s. Those of a database whose clients get any server are not there.
func (d *Database) ObserveServers(s Server, status func() topology.Status) {
	d.instances.mu.Lock()
	first := !d.instances.observed
	d.instances.observed = true
	d.instances.all = append(d.instances.all, servedRole{s, status})
	d.instances.mu.Unlock()
	if first {
		d.reg.MustRegister(d.instances, d.instances.changes, d.instances.failover)
	}
}

func (i *instances) release(s Server) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all = slices.DeleteFunc(i.all, func(r servedRole) bool { return r.of == s })
}

// Describe implements prometheus.Collector.
func (i *instances) Describe(ch chan<- *prometheus.Desc) {
	ch <- instanceWriterDesc
	ch <- instanceLagDesc
}

// Collect implements prometheus.Collector. There are topology.MaxInstances of them at most.
func (i *instances) Collect(ch chan<- prometheus.Metric) {
	i.mu.Lock()
	var s topology.Status
	if n := len(i.all); n > 0 {
		s = i.all[n-1].status()
	}
	i.mu.Unlock()
	all := s.Instances
	if len(all) == 0 && s.Server != (topology.Place{}) {
		all = []topology.Instance{{Place: s.Server, Role: s.Role, Lag: -1}}
	}
	seen := map[string]bool{}
	for _, instance := range all {
		label := instance.Label()
		if seen[label] {
			continue
		}
		seen[label] = true
		ch <- prometheus.MustNewConstMetric(instanceWriterDesc, prometheus.GaugeValue, oneIf(instance.Role == topology.Writer), label)
		if instance.Lag >= 0 {
			ch <- prometheus.MustNewConstMetric(instanceLagDesc, prometheus.GaugeValue, instance.Lag.Seconds(), label)
		}
	}
}
