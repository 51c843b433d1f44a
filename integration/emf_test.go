package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestEMF reads what credproxy has written for CloudWatch when it ends: lines of JSON
// and nothing else, with the logins that were made.
func TestEMF(t *testing.T) {
	t.Parallel()
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	var out bytes.Buffer
	w := watch(t, sidecar.Options{Env: append(aws.Env(), "CREDPROXY_METRICS_ENVIRONMENT=test"), Stdout: &out, Config: "metrics: {emf: true, service: orders}\n" + oneDatabase(pg, arn)}, appPassword)
	for range 3 {
		if err := w.logIn(t.Context(), w.Addr(t, "main"), "postgres"); err != nil {
			t.Fatal(err)
		}
	}
	if code := w.Stop(); code != 0 {
		t.Fatalf("status %d", code)
	}
	w.mustNotShow(t, "standard output", out.String())
	logins, metrics := 0.0, map[string]bool{}
	for line := range strings.Lines(out.String()) {
		var doc struct {
			AWS struct {
				Timestamp         int64
				CloudWatchMetrics []struct {
					Namespace  string
					Dimensions [][]string
					Metrics    []struct{ Name string }
				}
			} `json:"_aws"`
			Database, Result     string
			Service, Environment string
			Connections          float64 `json:"connections_total"`
		}
		if err := json.Unmarshal([]byte(line), &doc); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if age := time.Since(time.UnixMilli(doc.AWS.Timestamp)); age < 0 || age > 5*time.Minute || len(doc.AWS.CloudWatchMetrics) != 1 || doc.AWS.CloudWatchMetrics[0].Namespace != "credproxy" {
			t.Errorf("not for CloudWatch: %s", line)
		}
		if dims := doc.AWS.CloudWatchMetrics[0].Dimensions[0]; doc.Service != "orders" || doc.Environment != "test" || !slices.Contains(dims, "service") || !slices.Contains(dims, "environment") {
			t.Errorf("service and environment are no dimensions: %s", line)
		}
		for _, m := range doc.AWS.CloudWatchMetrics[0].Metrics {
			metrics[m.Name+labelsOf(t, line, doc.AWS.CloudWatchMetrics[0].Dimensions[0])] = true
		}
		if doc.Database == "main" && doc.Result == "ok" {
			logins += doc.Connections
		}
	}
	if n := len(metrics); n < 20 || n > 35 {
		t.Errorf("%d metrics, docs/cost.md counts 28: %v", n, slices.Sorted(maps.Keys(metrics)))
	}
	if logins != 3 {
		t.Errorf("%v logins, want 3:\n%s", logins, out.String())
	}
}

// labelsOf are the values of these dimensions on a line.
func labelsOf(t *testing.T, line string, dimensions []string) (labels string) {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(line), &members); err != nil {
		t.Fatal(err)
	}
	for _, name := range dimensions {
		labels += fmt.Sprintf(" %s=%v", name, members[name])
	}
	return labels
}
