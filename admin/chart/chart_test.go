package chart

import (
	"encoding/xml"
	"flag"
	"io"
	"math"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the expected drawings anew")

func TestSVG(t *testing.T) {
	gap := math.NaN()
	for name, c := range map[string]Chart{
		"nothing": {Label: "nothing", Series: []Series{{Class: "area", Area: true, Values: make([]float64, 90)}}},
		"unknown": {Label: "unknown", Series: []Series{{Class: "area", Area: true, Values: []float64{gap, gap, gap}}}},
		"area": {Label: `logins <per> "second"`, Marks: []float64{2.5, 6},
			Series: []Series{{Class: "area", Area: true, Values: []float64{gap, 0, 0, 3, 4.5, 4.5, 1, gap, 2, gap}}}},
		"lines": {Label: "login time", Series: []Series{
			{Class: "p99", Values: []float64{0.04, 0.04, gap, gap, 1.25, 0.5}},
			{Class: "p50", Values: []float64{0.002, 0.003, gap, gap, 0.3, 0.3}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(c.SVG()) + "\n"
			for d := xml.NewDecoder(strings.NewReader(got)); ; {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%v: %s", err, got)
				}
			}
			for _, bad := range []string{"style", "script", "NaN", "Inf", "e-", "://"} {
				if strings.Contains(got, bad) {
					t.Errorf("the drawing has %q: %s", bad, got)
				}
			}
			path := "testdata/" + name + ".svg"
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil || got != string(want) {
				t.Errorf("%v\n got %s\nwant %s", err, got, want)
			}
		})
	}
}

func TestMost(t *testing.T) {
	c := Chart{Series: []Series{{Values: []float64{1, math.NaN()}}, {Values: []float64{3, 2}}}}
	if got := c.Most(); got != 3 {
		t.Error(got)
	}
}
