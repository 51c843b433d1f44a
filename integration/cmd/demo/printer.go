package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// printer writes plain text for people; titles are bold on a terminal. Its
// methods may be called from any goroutine.
type printer struct {
	bold bool

	mu    sync.Mutex
	to    io.Writer
	begun time.Time // of the clock that events show
}

func newPrinter(f *os.File) *printer {
	info, err := f.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &printer{to: f, bold: terminal && os.Getenv("TERM") != "dumb"}
}

func (p *printer) title(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.bold {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	p.write("\n" + text + "\n")
}

func (p *printer) line(format string, args ...any) {
	p.write("  " + fmt.Sprintf(format, args...) + "\n")
}

func (p *printer) startClock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun = time.Now()
}

// event is a line with the time since startClock.
func (p *printer) event(database, step, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.to, "  %6s  %-8s %-14s  %s\n", seconds(time.Since(p.begun)), database, step, text)
}

func (p *printer) write(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.to, text) // who closed the output does not want it
}

// table writes rows whose first cell is a label. A row of one cell is a heading.
func (p *printer) table(rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if len(row) > 1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&line, "%-*s  ", widths[i], cell)
		}
		p.line("%s", strings.TrimRight(line.String(), " "))
	}
}

func indent(text string) string {
	return "      " + strings.ReplaceAll(strings.Trim(text, "\n"), "\n", "\n      ")
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
