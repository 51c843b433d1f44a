package deploy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// alarm is what template and module have in common, and what an alarm is.
type alarm struct {
	Metric, Statistic, Compare, Missing string
	Dimensions                          string // sorted, NAME=VALUE
	Threshold, Period, Periods          string
}

// TestAlarms: template and module make the same alarms, each of a metric that credproxy writes with these very
// dimensions (an alarm of others would never hear of it), and each explained in the runbook.
func TestAlarms(t *testing.T) {
	module, dashboard := moduleAlarms(t)
	template, templateDashboard := templateAlarms(t)
	mustEqual(t, "alarms of the template", template, module)
	mustEqual(t, "dashboard of the template", templateDashboard, dashboard)
	runbook, err := os.ReadFile(filepath.Join(root, "docs", "runbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := documentedMetrics(t)
	for name, a := range module {
		checkDimensions(t, documented, name, a.Metric, a.Dimensions)
		alert := name[strings.LastIndexByte(name, ' ')+1:]
		if !strings.Contains(string(runbook), "### "+alert+"\n") {
			t.Errorf("%s: the runbook has no heading for %s", name, alert)
		}
		if a.Missing != "notBreaching" {
			t.Errorf("%s: a counter that has counted nothing is missing, and missing data is %s", name, a.Missing)
		}
	}
	checkDashboard(t, documented, dashboard)
}

func moduleAlarms(t *testing.T) (alarms map[string]alarm, dashboard any) {
	t.Helper()
	m := readModule(t, "alarms")
	m.evaluate(t, `{"service":"orders","environment":"prod","databases":["main"],"alert_topic_arns":["`+topicARN+`"]}`)
	alarms = map[string]alarm{}
	for _, made := range m.each["aws_cloudwatch_metric_alarm.this"] {
		a := alarm{
			Metric: made["metric_name"].AsString(), Statistic: made["statistic"].AsString(), Compare: made["comparison_operator"].AsString(),
			Missing: made["treat_missing_data"].AsString(), Threshold: made["threshold"].AsBigFloat().String(),
			Period: made["period"].AsBigFloat().String(), Periods: made["evaluation_periods"].AsBigFloat().String(),
		}
		var dimensions []string
		for name, value := range made["dimensions"].AsValueMap() {
			dimensions = append(dimensions, name+"="+value.AsString())
		}
		slices.Sort(dimensions)
		a.Dimensions = strings.Join(dimensions, " ")
		alarms[made["alarm_name"].AsString()] = a
	}
	decode(t, m.made["aws_cloudwatch_dashboard.this"]["dashboard_body"].AsString(), &dashboard)
	return alarms, dashboard
}

func templateAlarms(t *testing.T) (alarms map[string]alarm, dashboard any) {
	t.Helper()
	alarms = map[string]alarm{}
	for _, r := range readTemplate(t, "alarms").render(t, map[string]string{"Service": "orders", "Environment": "prod", "Database": "main", "AlertTopicArn": topicARN}) {
		p := r.Properties
		if r.Type != "AWS::CloudWatch::Alarm" {
			decode(t, p["DashboardBody"].(string), &dashboard)
			continue
		}
		var dimensions []string
		for _, d := range p["Dimensions"].([]any) {
			dimension := d.(map[string]any)
			dimensions = append(dimensions, fmt.Sprint(dimension["Name"], "=", dimension["Value"]))
		}
		slices.Sort(dimensions)
		alarms[p["AlarmName"].(string)] = alarm{
			Metric: p["MetricName"].(string), Statistic: p["Statistic"].(string), Compare: p["ComparisonOperator"].(string), Missing: p["TreatMissingData"].(string),
			Dimensions: strings.Join(dimensions, " "), Threshold: fmt.Sprint(p["Threshold"]), Period: fmt.Sprint(p["Period"]), Periods: fmt.Sprint(p["EvaluationPeriods"]),
		}
	}
	return alarms, dashboard
}

// checkDimensions holds the dimensions that a metric is asked for with against those that it
// is written with: its labels, and service and environment.
func checkDimensions(t *testing.T, documented map[string][]string, at, metric, dimensions string) {
	t.Helper()
	name := "credproxy_" + metric
	if series, isHistogram := strings.CutSuffix(strings.TrimSuffix(name, "_sum"), "_count"); documented[name] == nil && (isHistogram || series != name) {
		name = series + "_bucket"
	}
	labels, known := documented[name]
	if !known {
		t.Errorf("%s: credproxy writes no metric %s", at, metric)
	}
	want := []string{"environment", "service"}
	for _, label := range labels {
		if label != "instance" && label != "le" {
			want = append(want, label)
		}
	}
	var got []string
	for _, dimension := range strings.Fields(dimensions) {
		label, _, _ := strings.Cut(dimension, "=")
		got = append(got, label)
	}
	slices.Sort(got)
	slices.Sort(want)
	mustEqual(t, at+": dimensions of "+metric, got, want)
}

var searched = regexp.MustCompile(`^SEARCH\('\{credproxy,([a-z,]+)\} MetricName="(\w+)" service="orders" environment="prod" database="main"', '\w+', 60\)$`)

// checkDashboard looks at each metric and each search of the dashboard's widgets.
func checkDashboard(t *testing.T, documented map[string][]string, dashboard any) {
	t.Helper()
	type place struct{ X, Y, Width, Height int }
	var body struct {
		Widgets []struct {
			place
			Properties struct {
				Title, Region string
				Metrics       [][]any
			}
		}
	}
	text, err := json.Marshal(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	decode(t, string(text), &body)
	at := map[place]string{}
	for _, widget := range body.Widgets {
		title := widget.Properties.Title
		if other, taken := at[widget.place]; taken || widget.Properties.Region != region {
			t.Errorf("%s lies on %q, or is of region %s", title, other, widget.Properties.Region)
		}
		at[widget.place] = title
		ids := map[string]bool{}
		for _, m := range widget.Properties.Metrics {
			options := m[len(m)-1].(map[string]any)
			ids[fmt.Sprint(options["id"])] = true
			expression, _ := options["expression"].(string)
			switch search := searched.FindStringSubmatch(expression); {
			case search != nil:
				checkDimensions(t, documented, title, search[2], strings.ReplaceAll(search[1], ",", " "))
			case expression != "":
			default:
				var dimensions string
				for i := 2; i+1 < len(m)-1; i += 2 {
					dimensions += fmt.Sprint(m[i], "=", m[i+1], " ")
				}
				checkDimensions(t, documented, title, m[1].(string), dimensions)
			}
		}
		for _, m := range widget.Properties.Metrics {
			expression, _ := m[len(m)-1].(map[string]any)["expression"].(string)
			if strings.HasPrefix(expression, "SEARCH") {
				continue
			}
			for _, id := range regexp.MustCompile(`[a-z_]+`).FindAllString(expression, -1) {
				if !ids[id] {
					t.Errorf("%s: %s refers to %s, which is none of %v", title, expression, id, slices.Sorted(maps.Keys(ids)))
				}
			}
		}
	}
	if len(at) == 0 {
		t.Error("a dashboard without widgets")
	}
}
