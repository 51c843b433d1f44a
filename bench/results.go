package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
)

// direct is the contender that all others are compared with.
const direct = "direct TLS"

// results are the figures of all rounds.
type results struct {
	Metrics    []metric
	Contenders []string
	// Rounds of a metric (by case and name), each with a value per contender.
	Rounds map[string][]map[string]float64
	// Rates are those that a latency is measured at, by case, in queries a second.
	Rates map[string]float64

	file string
}

func (m metric) key() string { return m.Case + ": " + m.Name }

// loadResults reads what earlier runs have added to file, if anything.
func loadResults(file string) (*results, error) {
	r := &results{Rounds: map[string][]map[string]float64{}, Rates: map[string]float64{}, file: file}
	if file == "" {
		return r, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

func (r *results) save() error {
	if r.file == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.file, append(b, '\n'), 0o644)
}

// begin begins a round of a case.
func (r *results) begin(metrics []metric) {
	for _, m := range metrics {
		if _, known := r.Rounds[m.key()]; !known {
			r.Metrics = append(r.Metrics, m)
		}
		r.Rounds[m.key()] = append(r.Rounds[m.key()], map[string]float64{})
	}
}

// add adds a contender's values to the round.
func (r *results) add(metrics []metric, contender string, values []float64) {
	if !slices.Contains(r.Contenders, contender) {
		r.Contenders = append(r.Contenders, contender)
	}
	for i, m := range metrics {
		if i < len(values) {
			rounds := r.Rounds[m.key()]
			rounds[len(rounds)-1][contender] = values[i]
		}
	}
}

// values are a contender's figures of all rounds.
func (r *results) values(m metric, contender string) (all []float64) {
	for _, round := range r.Rounds[m.key()] {
		if v, ok := round[contender]; ok {
			all = append(all, v)
		}
	}
	return all
}

// ratios are a contender's figures, each over the direct connection's of the same
// round.
func (r *results) ratios(m metric, contender string) (all []float64) {
	for _, round := range r.Rounds[m.key()] {
		v, ok := round[contender]
		if base := round[direct]; ok && base > 0 {
			all = append(all, v/base)
		}
	}
	return all
}

// median is the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// percentile is the smallest value that a share p of them does not exceed.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return s[max(0, int(math.Ceil(p*float64(len(s))))-1)]
}

// number writes v with three digits that mean something.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100 || a == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}
