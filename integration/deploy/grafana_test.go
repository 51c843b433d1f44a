package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr, LegendFormat string }
}

// TestGrafanaDashboard has promtool parse every query of the dashboard, and holds the
// metrics and labels in them against docs/metrics.md.
func TestGrafanaDashboard(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deploy/grafana/credproxy.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID, Title  string
		Panels      []panel
		Annotations struct {
			List []struct{ Name, Expr, TitleFormat string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&dashboard); err != nil {
		t.Fatal(err)
	}
	documented := documentedMetrics(t)
	rules := "groups: [{name: dashboard, rules: [\n"
	query := func(at, expr, legend string) {
		checkQuery(t, documented, at, expr, legend)
		expr = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$database", ".*").Replace(expr)
		if strings.Contains(expr, "$") {
			t.Errorf("%s: a variable that the dashboard has not: %s", at, expr)
		}
		rules += fmt.Sprintf("{record: %q, expr: %q},\n", fmt.Sprintf("dashboard:query%d", len(rules)), expr)
	}
	var variables []string
	for _, v := range dashboard.Templating.List {
		variables = append(variables, v.Name)
		if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
			checkQuery(t, documented, v.Name, m[1], "{{"+m[2]+"}}")
		} else if v.Name != "datasource" {
			t.Errorf("variable %s is %q", v.Name, v.Definition)
		}
	}
	if !slices.Equal(variables, []string{"datasource", "database", "instance"}) {
		t.Errorf("variables are %q", variables)
	}
	for _, a := range dashboard.Annotations.List {
		query(a.Name, a.Expr, a.TitleFormat)
	}
	for i, p := range dashboard.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s: no query", p.Title)
		}
		for _, q := range p.Targets {
			query(p.Title, q.Expr, q.LegendFormat)
		}
		for _, other := range dashboard.Panels[:i] {
			if a, b := p.GridPos, other.GridPos; p.ID == other.ID || a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%q and %q have one id or overlap", p.Title, other.Title)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(rules+"]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, promtool, "check", "rules", file); err != nil || !strings.Contains(out, " rules found") {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// documentedMetrics are the metrics of docs/metrics.md, which is held against the
// registry, with their labels.
func documentedMetrics(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(credproxy_\\w+)` \\| (\\w+) \\| ([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
		labels := regexp.MustCompile(`\w+`).FindAllString(m[3], -1)
		name := m[1]
		if m[2] == "histogram" {
			name, labels = name+"_bucket", append(labels, "le")
		}
		metrics[name] = append(labels, "instance", "database")
	}
	return metrics
}

// checkQuery looks for metrics that are not documented, and labels that they do not have.
func checkQuery(t *testing.T, documented map[string][]string, at, expr, legend string) {
	t.Helper()
	names := regexp.MustCompile(`\b(credproxy|process|go)_\w+`).FindAllString(expr, -1)
	if len(names) == 0 {
		t.Errorf("%s: no metric in %q", at, expr)
	}
	labels := []string{"instance"} // all that the metrics of process and runtime have
	for _, name := range names {
		if of, known := documented[name]; known {
			labels = append(labels, of...)
		} else if strings.HasPrefix(name, "credproxy_") {
			t.Errorf("%s: no metric %s", at, name)
		}
	}
	for _, m := range regexp.MustCompile(`(?:by|on) \(([^)]*)\)|(\w+)[!=]~?"|{{(\w+)}}`).FindAllStringSubmatch(expr+legend, -1) {
		for _, label := range strings.Split(m[1]+m[2]+m[3], ", ") {
			if !slices.Contains(labels, label) {
				t.Errorf("%s: %q has no label %q", at, names, label)
			}
		}
	}
}
