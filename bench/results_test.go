package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestDocuments writes figures of three rounds, of which the last was slow for all,
// into a document.
func TestDocuments(t *testing.T) {
	r, err := loadResults(filepath.Join(t.TempDir(), "results"))
	if err != nil {
		t.Fatal(err)
	}
	throughput := []metric{{Case: "PostgreSQL select", Name: "throughput", Unit: "/s"}, {Case: "PostgreSQL select", Name: "memory", Unit: "KB", Absolute: true}}
	for _, round := range []float64{1000, 2000, 100} {
		r.begin(throughput)
		r.add(throughput, direct, []float64{round})
		r.add(throughput, "credproxy", []float64{round * 0.75, 12})
		r.add(throughput, "other", []float64{round/4 + 50})
	}
	if err := r.save(); err != nil {
		t.Fatal(err)
	}
	if r, err = loadResults(r.file); err != nil {
		t.Fatal(err)
	}
	docs := t.TempDir()
	page := filepath.Join(docs, "benchmark.md")
	if err := os.WriteFile(page, []byte("above\n"+beginFigures+"old\n"+endFigures+"below\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.writeDocs(docs); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"above\n", "below\n", "| PostgreSQL | direct TLS | credproxy | other |",
		"| select, throughput | 1000 /s | **0.75** (0.75 to 0.75) | **0.30** (0.28 to 0.75) |", "| PostgreSQL select | memory | 12.0 KB | 12.0 to 12.0 |"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "old") {
		t.Error("old figures are still there")
	}
	if chart, err := os.ReadFile(filepath.Join(docs, "benchmark.svg")); err != nil || !strings.Contains(string(chart), ">0.75 credproxy<") {
		t.Errorf("chart: %v\n%s", err, chart)
	}
}

func TestReadLatencies(t *testing.T) {
	for _, c := range []struct {
		log  string
		want latencies
		err  string
	}{
		{"0 1 900 0 1700000000 5 400\n1 1 250 0 1700000000 9 0\n", latencies{[]float64{0.9, 0.25}, []float64{0.5, 0.25}}, ""},
		{"0 1 900 0 1700000000 5\n", latencies{}, "how late"}, // of a run at no fixed rate
		{"0 1 failed 0 1700000000 5 400\n", latencies{}, "failed"},
		{"0 1 900 0 1700000000 5 late\n", latencies{}, "late"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "log.1"), []byte(c.log), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readLatencies(dir)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: error %v, want one with %q", c.log, err, c.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %v, %v, want %v", c.log, got, err, c.want)
		}
	}
	if _, err := readLatencies(t.TempDir()); err == nil {
		t.Error("no log is no error")
	}
}
