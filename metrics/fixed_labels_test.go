package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCountersBeginAtZero holds that the counters with the label result are there before they
// count, with the values that docs/metrics.md lists: alerts see no first event otherwise.
func TestCountersBeginAtZero(t *testing.T) {
	m := New()
	m.Database("orders")
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	results := map[string][]string{}
	for _, f := range families {
		for _, series := range f.GetMetric() {
			for _, l := range series.GetLabel() {
				if l.GetName() == "result" && series.GetCounter().GetValue() == 0 && !slices.Contains(results[f.GetName()], l.GetValue()) {
					results[f.GetName()] = append(results[f.GetName()], l.GetValue())
				}
			}
		}
	}
	doc, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile("`result` of `connections_total` is one of ([^;]*);").FindStringSubmatch(strings.ReplaceAll(string(doc), "\n", " "))
	if list == nil {
		t.Fatal("docs/metrics.md lists no results")
	}
	kinds := strings.Split(list[1], ", ")
	source := []string{"not_found", "no_version", "access_denied", "malformed", "unavailable"}
	for name, want := range map[string][]string{
		"credproxy_connections_total":        kinds,
		"credproxy_probe_total":              append(slices.Clone(kinds), "other_version", "not_writable"),
		"credproxy_credential_refresh_total": append(source, "ok", "unchanged"),
		"credproxy_cancel_requests_total":    {"forwarded", "unknown", "limited", "failed"},
		"credproxy_config_reload_total":      {"ok", "refused"},
	} {
		slices.Sort(want)
		if slices.Sort(results[name]); !slices.Equal(results[name], want) {
			t.Errorf("%s begins with %q, docs/metrics.md lists %q", name, results[name], want)
		}
	}
}
