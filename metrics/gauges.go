package metrics

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/credproxy/credproxy/secrets"
)

// Server is what is read off a running server of clients.
type Server interface {
	Active() int64                         // sessions that are logged in or logging in
	Relayed() (toUpstream, toClient int64) // bytes, after login
}

// servers collects what is read off the running servers of a database and their
// caches: one of each, and after a reload also those whose sessions are ending.
type servers struct {
	mu       sync.Mutex
	all      []observed
	finished traffic // of those that were released
}

type observed struct {
	server     Server
	credential func() secrets.Status
	ready      func() bool // new clients can be logged in there
}

type traffic struct{ toUpstream, toClient int64 }

func (t *traffic) add(s Server) {
	toUpstream, toClient := s.Relayed()
	t.toUpstream += toUpstream
	t.toClient += toClient
}

var (
	activeDesc = prometheus.NewDesc(namespace+"_connections_active",
		"Sessions that are logged in or logging in.", nil, nil)
	relayDesc = prometheus.NewDesc(namespace+"_relay_bytes_total",
		"Bytes relayed after login.", []string{"direction"}, nil)
	versionDesc = prometheus.NewDesc(namespace+"_credential_version_info",
		"1, with the first 8 characters of the id of the credential's version, or token.", []string{"version"}, nil)
	ageDesc = prometheus.NewDesc(namespace+"_credential_age_seconds",
		"Time since the credential's source last confirmed it.", nil, nil)
	breakerDesc = prometheus.NewDesc(namespace+"_source_breaker_open",
		"1 while the credential's source fails so often that it is asked only now and then.", nil, nil)
	readyDesc = prometheus.NewDesc(namespace+"_database_ready",
		"1 while new clients of the database can be logged in, as far as is known.", nil, nil)
	emergencyDesc = prometheus.NewDesc(namespace+"_break_glass_active",
		"1 while logins use the emergency credential.", nil, nil)
)

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Observe adds the metrics that are read off a running server and its cache, until
// Release. The credential is the one of the server observed last.
func (d *Database) Observe(s Server, credential func() secrets.Status, ready func() bool) {
	d.servers.mu.Lock()
	defer d.servers.mu.Unlock()
	d.servers.all = append(d.servers.all, observed{s, credential, ready})
}

// Release undoes one call of Metrics.Database and what was observed of a server, which
// has no session left; nil if there was none. With the last user the metrics
// vanish.
func (d *Database) Release(s Server) {
	d.servers.release(s)
	d.instances.release(s)
	d.metrics.mu.Lock()
	defer d.metrics.mu.Unlock()
	if d.users--; d.users == 0 {
		d.reg.unregister()
		delete(d.metrics.databases, d.name)
	}
}

func (c *servers) release(s Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.DeleteFunc(c.all, func(o observed) bool { return o.server == s })
	if len(all) < len(c.all) {
		c.finished.add(s)
	}
	c.all = all
}

// Describe implements prometheus.Collector.
func (c *servers) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{activeDesc, relayDesc, versionDesc, ageDesc, breakerDesc, readyDesc, emergencyDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *servers) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) == 0 {
		return
	}
	var active int64
	ready := false
	relayed := c.finished
	for _, o := range c.all {
		active += o.server.Active()
		ready = ready || o.ready()
		relayed.add(o.server)
	}
	ch <- prometheus.MustNewConstMetric(activeDesc, prometheus.GaugeValue, float64(active))
	ch <- prometheus.MustNewConstMetric(relayDesc, prometheus.CounterValue, float64(relayed.toUpstream), "to_upstream")
	ch <- prometheus.MustNewConstMetric(relayDesc, prometheus.CounterValue, float64(relayed.toClient), "to_client")
	ch <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, oneIf(ready))
	s := c.all[len(c.all)-1].credential()
	ch <- prometheus.MustNewConstMetric(breakerDesc, prometheus.GaugeValue, oneIf(s.SourceLeftAlone))
	ch <- prometheus.MustNewConstMetric(emergencyDesc, prometheus.GaugeValue, oneIf(s.Emergency != nil))
	if s.Preferred != nil {
		version := s.Preferred.ShortVersion()
		if s.Preferred.Kind() == secrets.Token { // a new one each 13 minutes, for ever
			version = "token"
		}
		ch <- prometheus.MustNewConstMetric(versionDesc, prometheus.GaugeValue, 1, version)
		ch <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, time.Since(s.Since).Seconds())
	}
}

// registerer remembers what was registered, so that it can be taken back.
type registerer struct {
	prometheus.Registerer
	all []prometheus.Collector
}

// MustRegister implements prometheus.Registerer.
func (r *registerer) MustRegister(cs ...prometheus.Collector) {
	r.Registerer.MustRegister(cs...)
	r.all = append(r.all, cs...)
}

func (r *registerer) unregister() {
	for _, c := range r.all {
		r.Unregister(c)
	}
}
