// Package chart draws small charts as SVG within a page.
//
// Invariant: what it draws has no script, no style of its own and no reference to anything
// else, so that a Content-Security-Policy without exceptions lets it in. Colours are the
// page's, by classes.
//
// It knows nothing of what it draws: numbers and one label.
package chart

import (
	"html/template"
	"math"
	"strconv"
	"strings"
)

// The coordinates of a chart; the page makes it as wide and as high as it likes.
const (
	slotWidth = 4
	height    = 40
	top       = 2 // is free, for the line of the greatest value
)

// Chart is one or more series over the same time.
type Chart struct {
	Label  string // what it shows, for who cannot see it
	Series []Series
	// Marks are moments: slots, and parts of one, from the beginning.
	Marks []float64
}

// Series are values of slots that follow each other. All series of a chart have as many.
type Series struct {
	Class  string    // of its path
	Area   bool      // the path goes round what is below the line
	Values []float64 // none is negative; NaN: not known
}

// Most returns the greatest value of all series, 0 if there is none.
func (c Chart) Most() float64 {
	most := 0.0
	for _, s := range c.Series {
		for _, v := range s.Values {
			if v > most {
				most = v
			}
		}
	}
	return most
}

// SVG draws the chart. The lower edge is 0, the upper one the greatest value.
func (c Chart) SVG() template.HTML {
	slots := 0
	for _, s := range c.Series {
		slots = max(slots, len(s.Values))
	}
	scale := c.Most()
	if scale == 0 {
		scale = 1
	}
	var b strings.Builder
	b.WriteString(`<svg class="chart" viewBox="0 0 ` + number(float64(slots*slotWidth)) + " " + number(height) +
		`" preserveAspectRatio="none" role="img" aria-label="` + template.HTMLEscapeString(c.Label) + `">`)
	for _, m := range c.Marks {
		b.WriteString(`<path class="mark" d="M` + number(m*slotWidth) + " 0V" + number(height) + `"/>`)
	}
	for _, s := range c.Series {
		if d := steps(s.Values, scale, s.Area); d != "" {
			b.WriteString(`<path class="` + template.HTMLEscapeString(s.Class) + `" d="` + d + `"/>`)
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // #nosec G203 -- numbers, and what was escaped
}

// steps is a path over each run of known values, level within a slot.
func steps(values []float64, scale float64, closed bool) string {
	var b strings.Builder
	drawn := math.NaN() // the value that the path is at
	for i, v := range values {
		x := number(float64(i * slotWidth))
		switch {
		case math.IsNaN(v) && !math.IsNaN(drawn):
			b.WriteString("H" + x)
			if closed {
				b.WriteString("V" + number(height) + "Z")
			}
		case math.IsNaN(v) || v == drawn:
		case math.IsNaN(drawn) && closed:
			b.WriteString("M" + x + " " + number(height) + "V" + number(y(v, scale)))
		case math.IsNaN(drawn):
			b.WriteString("M" + x + " " + number(y(v, scale)))
		default:
			b.WriteString("H" + x + "V" + number(y(v, scale)))
		}
		drawn = v
	}
	if !math.IsNaN(drawn) {
		b.WriteString("H" + number(float64(len(values)*slotWidth)))
		if closed {
			b.WriteString("V" + number(height) + "Z")
		}
	}
	return b.String()
}

func y(v, scale float64) float64 { return height - v/scale*(height-top) }

// number writes a coordinate with two decimals at most.
func number(v float64) string {
	return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
}
