package admin

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"github.com/credproxy/credproxy/admin/chart"
	"github.com/credproxy/credproxy/metrics/recent"
)

// drawing is a chart of the page, and what it says in words.
type drawing struct {
	Name, Said string
	SVG        template.HTML
}

// charts draws what happened lately.
func charts(w *recent.Window) []drawing {
	each := func(class string, value func(recent.Slot) float64) chart.Series {
		s := chart.Series{Class: class, Area: strings.HasPrefix(class, "area"), Values: make([]float64, len(w.Slots))}
		for i, slot := range w.Slots {
			s.Values[i] = value(slot)
		}
		return s
	}
	draw := func(name, said string, series ...chart.Series) drawing {
		c := chart.Chart{Label: name + " in the last 15 minutes: " + said, Series: series, Marks: w.Marks}
		return drawing{name, said, c.SVG()}
	}
	logins := each("area", func(s recent.Slot) float64 {
		return knownIf(s.Seen, float64(s.Logins)/recent.SlotTime.Seconds())
	})
	logins.Values[len(logins.Values)-1] = math.NaN() // it is not over
	times := "none"
	if w.Logins > 0 {
		times = fmt.Sprintf("p50 %s, p99 %s", Took(w.P50), Took(w.P99))
	}
	return []drawing{
		draw("logins per second", "at most "+perSecond(w.MostPerSecond), logins),
		draw("login time", times,
			each("p99", func(s recent.Slot) float64 { return knownIf(s.P99 > 0, s.P99.Seconds()) }),
			each("p50", func(s recent.Slot) float64 { return knownIf(s.P50 > 0, s.P50.Seconds()) })),
		draw("sessions", fmt.Sprintf("at most %d", w.MostSessions),
			each("area", func(s recent.Slot) float64 { return knownIf(s.Sessions >= 0, float64(s.Sessions)) })),
		draw("failures", fmt.Sprint(w.Failures),
			each("area bad", func(s recent.Slot) float64 { return knownIf(s.Failures > 0, float64(s.Failures)) })),
	}
}

// Took writes how long something took, in seconds, more finely than a time ago.
func Took(seconds float64) string {
	if seconds < 0.01 {
		return fmt.Sprintf("%.1f ms", seconds*1000)
	}
	return human(seconds)
}

// knownIf returns v, or that there is no value.
func knownIf(is bool, v float64) float64 {
	if is {
		return v
	}
	return math.NaN()
}
