package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// promtool is where setup.sh puts it.
const promtool = "/var/cache/credproxy-test/prometheus/usr/bin/promtool"

// TestPrometheusRules has promtool check the alert rules and run their unit tests,
// and holds the metrics in them against the table of docs/metrics.md, which is
// itself held against the registry.
func TestPrometheusRules(t *testing.T) {
	const rules = "deploy/prometheus/credproxy.rules.yaml"
	for _, args := range [][]string{
		{"check", "rules", rules},
		{"test", "rules", "deploy/prometheus/credproxy.test.yaml"},
	} {
		if out, err := run(t, promtool, args...); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
	text, err := os.ReadFile(filepath.Join(root, rules))
	if err != nil {
		t.Fatal(err)
	}
	documented := documentedMetrics(t)
	names := regexp.MustCompile(`credproxy_[a-z_]+`).FindAllString(string(text), -1)
	if len(names) == 0 {
		t.Error("the rules name no metric")
	}
	for _, name := range names {
		if _, known := documented[name]; !known {
			t.Errorf("no metric %s", name)
		}
	}
}
