package metrics

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// predecessorLabel sets the metrics of older processes apart: whose number it is.
const predecessorLabel = "predecessor"

// ofOlder are the families that are true of a process that accepts no more: of its sessions,
// and of what it takes. Whether a database is ready, say, is no longer its to know, and what it counted
// before the upgrade is not news of the process that has just started.
var ofOlder = []string{
	namespace + "_connections_active", namespace + "_relay_bytes_total", namespace + "_pool_in_use",
	namespace + "_" + startTime, "process_cpu_seconds_total", "process_open_fds", "process_resident_memory_bytes",
}

// Older are the metrics of a process that accepts no more and still has sessions.
type Older struct {
	Number int
	Text   []byte // in Prometheus' text format
}

// WithOlder adds to own those of older processes, each with its number as the label predecessor.
func WithOlder(own prometheus.Gatherer, older func() []Older) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := own.Gather()
		for _, o := range older() {
			families = o.addTo(families)
		}
		return families, err
	})
}

// addTo adds the metrics to families, which are in the order of their names. What cannot be
// read, and what goes by the same name and is of another type, is left out.
func (o Older) addTo(families []*dto.MetricFamily) []*dto.MetricFamily {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	theirs, err := parser.TextToMetricFamilies(bytes.NewReader(o.Text))
	if err != nil {
		return families
	}
	for _, name := range ofOlder {
		f := theirs[name]
		if f == nil {
			continue
		}
		label, number := predecessorLabel, strconv.Itoa(o.Number)
		for _, m := range f.GetMetric() {
			m.Label = append(m.Label, &dto.LabelPair{Name: &label, Value: &number})
			slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
		}
		i, there := slices.BinarySearchFunc(families, name, func(f *dto.MetricFamily, name string) int { return cmp.Compare(f.GetName(), name) })
		switch {
		case !there:
			families = slices.Insert(families, i, f)
		case families[i].GetType() == f.GetType():
			families[i].Metric = append(families[i].Metric, f.GetMetric()...)
		}
	}
	return families
}
