package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// EMFInterval is how often [EMF] writes.
const EMFInterval = time.Minute

// maxEMFMetrics is how many metrics one line may define; CloudWatch drops the rest.
const maxEMFMetrics = 100

// EMF writes credproxy's own metrics as lines of CloudWatch's Embedded Metric Format,
// from which CloudWatch Logs makes metrics in the namespace "credproxy":
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
//
// Names lose their prefix and labels become dimensions. Counters count since the line
// before; of a histogram there are count and sum. What has counted nothing yet is left out.
type EMF struct {
	from       prometheus.Gatherer
	to         io.Writer
	dimensions map[string]string  // of every metric
	last, now  map[string]float64 // by series: what counters have come to
}

// NewEMF returns one that writes the metrics of m, each with these dimensions beside its
// labels. A dimension without a value is left out.
func NewEMF(m *Metrics, to io.Writer, dimensions map[string]string) *EMF {
	return &EMF{from: m.Registry, to: to, dimensions: dimensions}
}

// Run writes every EMFInterval until ctx ends, and then once more. It gives up at the
// first error of the writer.
func (e *EMF) Run(ctx context.Context) error {
	tick := time.NewTicker(EMFInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if err := e.Write(time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// emfLine is what one line says: metrics that share their dimensions.
type emfLine struct {
	labels  map[string]string
	metrics []emfMetric
	values  map[string]float64
}

type emfMetric struct{ Name, Unit string }

// Write writes one batch of lines.
func (e *EMF) Write(now time.Time) error {
	families, err := e.from.Gather()
	if err != nil {
		return err
	}
	lines := map[string]*emfLine{}
	e.last, e.now = e.now, map[string]float64{}
	for _, f := range families {
		name, ours := strings.CutPrefix(f.GetName(), namespace+"_")
		if !ours || name == startTime {
			continue // as the runtime's, they would cost more than they tell
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for name, value := range e.dimensions {
				if value != "" {
					labels[name] = value
				}
			}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			key := fmt.Sprint(labels) // a map prints in the order of its keys
			if lines[key] == nil {
				lines[key] = &emfLine{labels: labels, values: map[string]float64{}}
			}
			e.add(lines[key], name, key, m)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(lines)) {
		for metrics := range slices.Chunk(lines[key].metrics, maxEMFMetrics) {
			if err := lines[key].write(e.to, now, metrics); err != nil {
				return err
			}
		}
	}
	return nil
}

// add puts the value of one series into its line.
func (e *EMF) add(line *emfLine, name, key string, m *dto.Metric) {
	value := func(name string, v float64) {
		line.metrics = append(line.metrics, emfMetric{name, emfUnit(name)})
		line.values[name] = v
	}
	since := func(name string, total float64) {
		if total == 0 {
			return // CloudWatch charges for what it has heard of
		}
		before := e.last[name+key]
		if before > total {
			before = 0 // of a database that was taken out and came back
		}
		value(name, total-before)
		e.now[name+key] = total
	}
	switch {
	case m.Counter != nil:
		since(name, m.Counter.GetValue())
	case m.Gauge != nil:
		value(name, m.Gauge.GetValue())
	case m.Histogram != nil:
		since(name+"_count", float64(m.Histogram.GetSampleCount()))
		since(name+"_sum", m.Histogram.GetSampleSum())
	}
}

func emfUnit(name string) string {
	switch {
	case strings.HasSuffix(name, "_seconds"), strings.HasSuffix(name, "_seconds_sum"):
		return "Seconds"
	case strings.HasSuffix(name, "_bytes_total"):
		return "Bytes"
	case strings.HasSuffix(name, "_total"), strings.HasSuffix(name, "_count"):
		return "Count"
	}
	return "None"
}

// write writes some of the line's metrics, in one call of Write. A credential's version
// is said but is no dimension: each rotation would begin a new metric.
func (l *emfLine) write(w io.Writer, now time.Time, metrics []emfMetric) error {
	dimensions := []string{}
	out := map[string]any{}
	for name, value := range l.labels {
		if value == "" {
			value = "none" // CloudWatch takes no empty one
		}
		out[name] = value
		if name != "version" {
			dimensions = append(dimensions, name)
		}
	}
	slices.Sort(dimensions)
	for _, m := range metrics {
		out[m.Name] = l.values[m.Name]
	}
	out["_aws"] = map[string]any{
		"Timestamp": now.UnixMilli(),
		"CloudWatchMetrics": []any{map[string]any{
			"Namespace": namespace, "Dimensions": [][]string{dimensions}, "Metrics": metrics,
		}},
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}
