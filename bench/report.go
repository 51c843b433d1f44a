package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// table is all figures as Markdown: a table of ratios per case, and one of what has
// no ratio.
func (r *results) table() string {
	var b strings.Builder
	var ratios, absolute []metric
	for _, m := range r.Metrics {
		if m.Absolute {
			absolute = append(absolute, m)
		} else {
			ratios = append(ratios, m)
		}
	}
	for _, engine := range []string{"PostgreSQL", "MySQL"} {
		var names []string
		of := slices.DeleteFunc(slices.Clone(ratios), func(m metric) bool { return !strings.HasPrefix(m.Case, engine+" ") })
		for _, c := range r.Contenders {
			if c != direct && slices.ContainsFunc(of, func(m metric) bool { return len(r.ratios(m, c)) > 0 }) {
				names = append(names, c)
			}
		}
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n|---|%s\n", engine, direct, strings.Join(names, " | "), strings.Repeat("---|", 1+len(names)))
		for _, m := range of {
			fmt.Fprintf(&b, "| %s, %s | %s %s |", strings.TrimPrefix(m.Case, engine+" "), m.Name, number(median(r.values(m, direct))), m.Unit)
			for _, c := range names {
				fmt.Fprintf(&b, " %s |", spread(r.ratios(m, c)))
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	if len(absolute) > 0 {
		b.WriteString("| | | median | least to most |\n|---|---|---|---|\n")
	}
	for _, m := range absolute {
		for _, c := range r.Contenders {
			if v := r.values(m, c); len(v) > 0 {
				fmt.Fprintf(&b, "| %s | %s | %s %s | %s to %s |\n", m.Case, who(c, m.Name), number(median(v)), m.Unit, number(slices.Min(v)), number(slices.Max(v)))
			}
		}
	}
	return b.String()
}

func who(contender, figure string) string {
	if contender == "credproxy" {
		return figure
	}
	return figure + ": " + contender
}

// spread writes the median of ratios, and the least and the most.
func spread(ratios []float64) string {
	if len(ratios) == 0 {
		return "–"
	}
	return fmt.Sprintf("**%.2f** (%.2f to %.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios))
}

// begin and end of what writeDocs replaces in benchmark.md.
const (
	beginFigures = "<!-- begin of what make bench writes -->\n"
	endFigures   = "<!-- end of what make bench writes -->\n"
)

// writeDocs puts the figures into benchmark.md in folder, between two marks, and
// the chart beside it.
func (r *results) writeDocs(folder string) error {
	file := filepath.Join(folder, "benchmark.md")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), beginFigures)
	_, after, ended := strings.Cut(rest, endFigures)
	if !ok || !ended {
		return fmt.Errorf("%s has not both %q and %q", file, beginFigures, endFigures)
	}
	if err := os.WriteFile(file, []byte(before+beginFigures+"\n![throughput, as a ratio to a direct connection](benchmark.svg)\n\n"+r.table()+"\n"+endFigures+after), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "benchmark.svg"), []byte(r.chart()), 0o644)
}

// chart draws the ratios of throughput: a group of bars per case, a bar per
// contender, a line where the direct connection is.
func (r *results) chart() string {
	const bar, gap, left, width = 13, 12, 330, 900
	const full = (width - left - 60) / 1.2 // pixels of the ratio 1
	colours := map[string]string{"credproxy": "#0b6e4f", credproxyReuse: "#4fa88a", "pgbouncer session": "#9aa5b1", "pgbouncer transaction": "#c3cad2", "haproxy TCP": "#d9a05b", mysqlRouter: "#b07aa1", mysqlRouterShares: "#d3b2c9"}
	var b strings.Builder
	y := 40
	for _, m := range r.Metrics {
		if m.Absolute || m.Lower {
			continue
		}
		top := y
		for _, c := range r.Contenders {
			ratios := r.ratios(m, c)
			if c == direct || len(ratios) == 0 {
				continue
			}
			v, colour := median(ratios), colours[c]
			if colour == "" {
				colour = "#6b8fb3"
			}
			more := ""
			if v > 1.2 {
				more = " →"
			}
			length := min(v, 1.2) * full
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/><text x="%.0f" y="%d" font-size="10">%.2f%s %s</text>`+"\n",
				left, y, length, bar-2, colour, left+length+4, y+bar-4, v, more, c)
			y += bar
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-8, (top+y)/2+4, m.Case)
		y += gap
	}
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="white"/>
<text x="%d" y="20" font-weight="bold">Throughput, as a ratio to a direct connection over TLS (line at 1): median of %d rounds</text>
<line x1="%.0f" x2="%.0f" y1="30" y2="%d" stroke="#888" stroke-dasharray="3 3"/>
`, width+60, y, 10, r.rounds(), left+full, left+full, y)
	return head + b.String() + "</svg>\n"
}

// rounds is the least number of rounds that a case has seen.
func (r *results) rounds() int {
	least := 0
	for _, rounds := range r.Rounds {
		if least == 0 || len(rounds) < least {
			least = len(rounds)
		}
	}
	return least
}
