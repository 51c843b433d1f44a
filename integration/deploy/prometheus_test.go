package deploy_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promtool is where setup.sh puts it.
const promtool = "/var/cache/credproxy-test/prometheus/usr/bin/promtool"

const rules = "deploy/prometheus/credproxy.rules.yaml"

var update = flag.Bool("update", false, "write the copies of the alert rules anew")

// TestPrometheusRules has promtool check the alert rules and run their unit tests,
// and holds the metrics in them against the table of docs/metrics.md, which is
// itself held against the registry.
func TestPrometheusRules(t *testing.T) {
	for _, args := range [][]string{
		{"check", "rules", rules},
		{"test", "rules", "deploy/prometheus/credproxy.test.yaml"},
	} {
		if out, err := run(t, promtool, args...); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
	text := file(t, rules)
	documented := documentedMetrics(t)
	names := regexp.MustCompile(`credproxy_[a-z_]+`).FindAllString(text, -1)
	if len(names) == 0 {
		t.Error("the rules name no metric")
	}
	for _, name := range names {
		if _, known := documented[name]; !known {
			t.Errorf("no metric %s", name)
		}
	}
}

// TestAlertsLeadToTheRunbook: each alert has a link to a heading of its own, and each such
// heading an alert.
func TestAlertsLeadToTheRunbook(t *testing.T) {
	find := func(text, pattern string) (found []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		return found
	}
	text := file(t, rules)
	alerts := find(text, `- alert: (\w+)`)
	links := find(text, `runbook_url: https://github\.com/credproxy/credproxy/blob/main/docs/runbook\.md#(\w+)\n`)
	if len(alerts) == 0 || len(links) != len(alerts) {
		t.Fatalf("%d alerts, %d links", len(alerts), len(links))
	}
	for i, alert := range alerts {
		if links[i] != strings.ToLower(alert) {
			t.Errorf("%s leads to #%s", alert, links[i])
		}
	}
	headings := find(file(t, "docs/runbook.md"), `(?m)^### (Credproxy\w+)$`)
	slices.Sort(alerts)
	if slices.Sort(headings); !slices.Equal(alerts, headings) {
		t.Errorf("alerts are\n%q, headings of docs/runbook.md\n%q", alerts, headings)
	}
}

// TestCopiesOfTheRules holds that the object for the Prometheus operator and the Helm chart,
// which can read no file outside of its folder, have the same rules.
func TestCopiesOfTheRules(t *testing.T) {
	const object = "deploy/kubernetes/prometheusrule.yaml"
	text := file(t, rules)
	head, _, found := strings.Cut(file(t, object), "\nspec:\n")
	_, groups, ok := strings.Cut(text, "\ngroups:\n")
	if !found || !ok {
		t.Fatal("no spec, or no groups")
	}
	groups = regexp.MustCompile(`(?m)^`).ReplaceAllString(strings.TrimSuffix(groups, "\n"), "  ")
	for path, want := range map[string]string{
		object: head + "\nspec:\n  groups:\n" + groups + "\n",
		"deploy/kubernetes/helm/credproxy/credproxy.rules.yaml": text,
	} {
		if *update {
			if err := os.WriteFile(filepath.Join(root, path), []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if file(t, path) != want {
			t.Errorf("%s does not have the rules of %s; go test ./deploy -run TestCopiesOfTheRules -update writes it", path, rules)
		}
	}
}

// file is the text of a file of the checkout.
func file(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
