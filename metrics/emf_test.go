package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/credproxy/credproxy/proxy/fault"
)

// document is a line as the specification has it.
type document struct {
	AWS struct {
		Timestamp         int64
		CloudWatchMetrics []struct {
			Namespace  string
			Dimensions [][]string
			Metrics    []struct{ Name, Unit string }
		}
	} `json:"_aws"`
}

// emfValues holds lines against the specification's rules and returns the values, by
// metric and dimensions.
func emfValues(t *testing.T, lines string, at time.Time) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for line := range strings.Lines(lines) {
		var d document
		var members map[string]any
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if err := json.Unmarshal([]byte(line), &members); err != nil {
			t.Fatal(err)
		}
		if d.AWS.Timestamp != at.UnixMilli() || len(d.AWS.CloudWatchMetrics) != 1 || len(line) > 256<<10 {
			t.Errorf("not a line of this time with one directive: %s", line)
			continue
		}
		dir := d.AWS.CloudWatchMetrics[0]
		if dir.Namespace != "credproxy" || len(dir.Dimensions) != 1 || len(dir.Dimensions[0]) > 30 || len(dir.Metrics) == 0 || len(dir.Metrics) > 100 {
			t.Errorf("directive %+v", dir)
			continue
		}
		dims := []string{}
		for _, name := range dir.Dimensions[0] {
			text, ok := members[name].(string)
			if !ok || len(text) > 1024 || !regexp.MustCompile(`^[!-9;-~][ -~]*$`).MatchString(text) {
				t.Errorf("dimension %s is %v", name, members[name])
			}
			dims = append(dims, name+"="+text)
		}
		for _, m := range dir.Metrics {
			v, ok := members[m.Name].(float64)
			if !ok || !slices.Contains([]string{"Seconds", "Bytes", "Count", "None"}, m.Unit) {
				t.Errorf("metric %s is %v %s", m.Name, members[m.Name], m.Unit)
			}
			key := m.Name + "{" + strings.Join(dims, ",") + "} " + m.Unit
			if _, twice := values[key]; twice {
				t.Errorf("%s twice", key)
			}
			values[key] = v
		}
	}
	return values
}

func TestEMF(t *testing.T) {
	m := New()
	orders := fill(m)
	var out bytes.Buffer
	e := NewEMF(m, &out, nil)
	now := time.UnixMilli(1772600767123)
	batch := func(want map[string]float64) {
		t.Helper()
		out.Reset()
		if err := e.Write(now); err != nil {
			t.Fatal(err)
		}
		got := emfValues(t, out.String(), now)
		for key, v := range want {
			if value, ok := got[key]; !ok || value != v {
				t.Errorf("%s is %v, want %v", key, got[key], v)
			}
		}
		if t.Failed() {
			t.Log(strings.Join(slices.Sorted(maps.Keys(got)), "\n"))
		}
	}
	batch(map[string]float64{
		"connections_total{database=orders,result=ok} Count":                                                  1,
		"login_attempts_total{database=orders,result=rejected,source=secrets_manager,stage=AWSCURRENT} Count": 1,
		"login_duration_seconds_count{database=orders,phase=auth} Count":                                      1,
		"login_duration_seconds_sum{database=orders,phase=auth} Seconds":                                      .001,
		"credential_version_info{database=orders} None":                                                       1,
		"upstream_up{database=orders} None":                                                                   1,
		"draining{} None":                                                                                     1,
	})
	if !strings.Contains(out.String(), `"version":"01234567"`) {
		t.Error("the version is not said")
	}
	orders.SessionEnded(fault.OK, "")
	orders.SessionEnded(fault.OK, "")
	orders.LoginPhase("auth", 2*time.Second)
	batch(map[string]float64{
		"connections_total{database=orders,result=ok} Count":             2,
		"login_duration_seconds_count{database=orders,phase=auth} Count": 1,
		"login_duration_seconds_sum{database=orders,phase=auth} Seconds": 2,
		"credential_rotations_total{database=orders} Count":              0,
		"upstream_up{database=orders} None":                              1,
	})
}

// TestEMFDimensions: what is asked for is on every metric, and an empty one on none.
func TestEMFDimensions(t *testing.T) {
	m := New()
	fill(m)
	var out bytes.Buffer
	now := time.Now()
	if err := NewEMF(m, &out, map[string]string{"service": "orders", "environment": ""}).Write(now); err != nil {
		t.Fatal(err)
	}
	for key := range emfValues(t, out.String(), now) {
		if !strings.Contains(key, "service=orders") || strings.Contains(key, "environment") {
			t.Error(key)
		}
	}
}

// TestEMFOfAReload holds that a database which was taken out and came back counts anew,
// and not backwards.
func TestEMFOfAReload(t *testing.T) {
	counter := func(v float64) *prometheus.Registry {
		r := prometheus.NewRegistry()
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "credproxy_x_total"})
		c.Add(v)
		r.MustRegister(c)
		return r
	}
	var out bytes.Buffer
	e := NewEMF(New(), &out, nil)
	for _, step := range []struct {
		from prometheus.Gatherer
		want float64
	}{{counter(5), 5}, {counter(7), 2}, {counter(3), 3}, {prometheus.NewRegistry(), 0}, {counter(4), 4}} {
		out.Reset()
		e.from = step.from
		now := time.Now()
		if err := e.Write(now); err != nil {
			t.Fatal(err)
		}
		if got := emfValues(t, out.String(), now)["x_total{} Count"]; got != step.want {
			t.Errorf("%v, want %v", got, step.want)
		}
	}
}

// TestEMFOfMany holds the limit of metrics on a line, and that no dimension is empty.
func TestEMFOfMany(t *testing.T) {
	m := New()
	for i := range 150 {
		m.Registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: fmt.Sprintf("credproxy_g%d", i), ConstLabels: prometheus.Labels{"x": ""}}))
	}
	var out bytes.Buffer
	now := time.Now()
	if err := NewEMF(m, &out, nil).Write(now); err != nil {
		t.Fatal(err)
	}
	if n := len(emfValues(t, out.String(), now)); n != 150+1 { // and draining; of reloads there was none
		t.Errorf("%d metrics", n)
	}
}

func TestEMFWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		fill(m)
		out := &writes{}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- NewEMF(m, out, nil).Run(ctx) }()
		for minute := range 3 {
			synctest.Wait()
			if got := strings.Count(out.String(), `"draining":`); got != minute {
				t.Errorf("%d batches after %d minutes", got, minute)
			}
			time.Sleep(EMFInterval)
		}
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := strings.Count(out.String(), `"draining":`); got != 4 {
			t.Errorf("%d batches in the end, want one for each of 3 minutes and one at the end", got)
		}
	})
}

// writes is a buffer for two goroutines.
type writes struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *writes) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}
