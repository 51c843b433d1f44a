package metrics

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/credproxy/credproxy/proxy/pool"
)

// pools are the metrics of the server sessions that a database's pools keep: of the one at
// work, and after a reload of those whose sessions are ending.
type pools struct {
	opened, reused prometheus.Counter
	closed         *prometheus.CounterVec
	waited, reset  prometheus.Histogram

	mu  sync.Mutex
	all []*pool.Pool
}

var (
	poolIdleDesc    = prometheus.NewDesc(namespace+"_pool_idle", "Server sessions that are kept for the next client.", nil, nil)
	poolInUseDesc   = prometheus.NewDesc(namespace+"_pool_in_use", "Server sessions of the pool that have a client, or are being opened or reset.", nil, nil)
	poolWaitingDesc = prometheus.NewDesc(namespace+"_pool_waiting", "Clients that wait for one of pool.max_server_connections.", nil, nil)
)

func newPools() *pools {
	p := &pools{
		opened: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "pool_opened_total", Help: "Server sessions that were opened for the pool."}),
		reused: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "pool_reused_total", Help: "Clients that got a server session of the pool."}),
		closed: counterVec("pool_closed_total", "Server sessions of the pool that were closed, by why.", "reason"),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "pool_wait_seconds", Help: "Time that clients waited for one of pool.max_server_connections.", Buckets: loginBuckets}),
		reset:  prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "pool_reset_seconds", Help: "Time that it took to make a server session as a fresh one.", Buckets: loginBuckets}),
	}
	for _, reason := range pool.Reasons() {
		p.closed.WithLabelValues(string(reason))
	}
	return p
}

// Pool hears what happens in a pool.
func (d *Database) Pool(e pool.Event) {
	p := d.pools
	switch e.Kind {
	case pool.Opened:
		p.opened.Inc()
	case pool.Reused:
		p.reused.Inc()
	case pool.Closed:
		p.closed.WithLabelValues(string(e.Reason)).Inc()
	case pool.Waited:
		p.waited.Observe(e.Took.Seconds())
	case pool.Reset:
		p.reset.Observe(e.Took.Seconds())
	}
}

// ObservePool adds the metrics of pools, and reads the numbers off this one. Those of a
// database that keeps no sessions are not there.
func (d *Database) ObservePool(p *pool.Pool) {
	d.pools.mu.Lock()
	first := d.pools.all == nil
	d.pools.all = append(d.pools.all, p)
	d.pools.mu.Unlock()
	if first {
		d.reg.MustRegister(d.pools, d.pools.opened, d.pools.reused, d.pools.closed, d.pools.waited, d.pools.reset)
	}
}

// Describe implements prometheus.Collector.
func (p *pools) Describe(ch chan<- *prometheus.Desc) {
	ch <- poolIdleDesc
	ch <- poolInUseDesc
	ch <- poolWaitingDesc
}

// stats are the numbers of all pools together.
func (p *pools) stats() (sum pool.Stats) {
	p.mu.Lock()
	p.all = slices.DeleteFunc(p.all, func(one *pool.Pool) bool { return len(p.all) > 1 && one.Ended() })
	all := slices.Clone(p.all)
	p.mu.Unlock()
	for _, one := range all {
		s := one.Stats()
		sum.Idle, sum.InUse, sum.Waiting = sum.Idle+s.Idle, sum.InUse+s.InUse, sum.Waiting+s.Waiting
	}
	return sum
}

// PoolState is what the metrics of a pool say, for the status page.
type PoolState struct {
	pool.Stats
	Opened, Reused int64
	Closed         map[string]int64 // by reason, where there were some
}

// PoolState returns what the metrics of the database's pools say.
func (d *Database) PoolState() PoolState {
	p := d.pools
	s := PoolState{Stats: p.stats(), Opened: count(p.opened), Reused: count(p.reused), Closed: map[string]int64{}}
	for _, reason := range pool.Reasons() {
		if n := count(p.closed.WithLabelValues(string(reason))); n > 0 {
			s.Closed[string(reason)] = n
		}
	}
	return s
}

func count(c prometheus.Counter) int64 {
	var m dto.Metric
	_ = c.Write(&m) // a counter's cannot fail
	return int64(m.GetCounter().GetValue())
}

// Collect implements prometheus.Collector.
func (p *pools) Collect(ch chan<- prometheus.Metric) {
	sum := p.stats()
	ch <- prometheus.MustNewConstMetric(poolIdleDesc, prometheus.GaugeValue, float64(sum.Idle))
	ch <- prometheus.MustNewConstMetric(poolInUseDesc, prometheus.GaugeValue, float64(sum.InUse))
	ch <- prometheus.MustNewConstMetric(poolWaitingDesc, prometheus.GaugeValue, float64(sum.Waiting))
}
