package metrics_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/credproxy/credproxy/metrics"
)

// TestWithOlder adds the metrics of two older processes: what is true of their sessions, and
// nothing that would pass for news of the one that serves.
func TestWithOlder(t *testing.T) {
	own := prometheus.NewRegistry()
	active := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "credproxy_connections_active", Help: "Own words."}, []string{"database"})
	own.MustRegister(active)
	active.WithLabelValues("pg").Set(5)
	first := `# HELP credproxy_connections_active Other words.
# TYPE credproxy_connections_active gauge
credproxy_connections_active{database="pg"} 2
credproxy_connections_active{database="z"} 3
# TYPE credproxy_database_ready gauge
credproxy_database_ready{database="pg"} 0
# TYPE credproxy_pool_in_use gauge
credproxy_pool_in_use{database="pg"} 1
# TYPE process_open_fds counter
process_open_fds 7
`
	process := prometheus.NewGauge(prometheus.GaugeOpts{Name: "process_open_fds", Help: "Of another type than theirs."})
	own.MustRegister(process)
	all := metrics.WithOlder(own, func() []metrics.Older {
		return []metrics.Older{
			{Number: 3, Text: []byte(first)}, {Number: 1, Text: []byte("# TYPE credproxy_connections_active gauge\ncredproxy_connections_active{database=\"pg\"} 1\n")},
			{Number: 2, Text: []byte("credproxy_connections_active{ nonsense")}, {Number: 4},
		}
	})
	want := `# HELP credproxy_connections_active Own words.
# TYPE credproxy_connections_active gauge
credproxy_connections_active{database="pg"} 5
credproxy_connections_active{database="pg",predecessor="3"} 2
credproxy_connections_active{database="z",predecessor="3"} 3
credproxy_connections_active{database="pg",predecessor="1"} 1
# TYPE credproxy_pool_in_use gauge
credproxy_pool_in_use{database="pg",predecessor="3"} 1
# HELP process_open_fds Of another type than theirs.
# TYPE process_open_fds gauge
process_open_fds 0
`
	families, err := all.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&got, f); err != nil {
			t.Fatal(err)
		}
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
}
