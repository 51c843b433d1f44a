package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// view is what page.html shows.
type view struct {
	Status
	Loud []notice
	CSS  template.CSS
}

// notice is a line at the top that nobody should miss.
type notice struct{ Class, What, Text string }

// page shows the status to people: one document without scripts or anything from
// outside, which loads itself again every 5 s.
func page(now func() Status) http.Handler {
	css := strings.TrimSpace(pageCSS)
	sum := sha256.Sum256([]byte(css))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	tmpl := template.Must(template.New("page").Funcs(template.FuncMap{
		"human": human, "ago": Ago, "until": until, "clock": clock, "iso": iso, "short": short,
		"rate": perSecond, "bytes": byteCount, "plural": plural, "at": at, "charts": charts,
	}).Parse(pageHTML))
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s := now()
		slices.SortStableFunc(s.Databases, brokenFirst)
		var body bytes.Buffer
		if err := tmpl.Execute(&body, view{Status: s, Loud: notices(s), CSS: template.CSS(css)}); err != nil {
			http.Error(w, "the status page cannot be shown: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		_, _ = w.Write(body.Bytes())
	})
}

// Odd reports whether a database that is ready still needs somebody to look at it.
func (db Database) Odd() bool {
	return db.BreakGlass != nil && db.BreakGlass.Active || db.Credential.FetchError != "" || db.Replacement != ""
}

func brokenFirst(a, b Database) int {
	switch {
	case a.Ready == b.Ready:
		return 0
	case a.Ready:
		return 1
	}
	return -1
}

// notices lists what an operator has to know before all else.
func notices(s Status) (loud []notice) {
	if s.Draining {
		loud = append(loud, notice{"fair", "Shutting down", "No new sessions; those that are open may end by themselves."})
	}
	for _, p := range s.Predecessors {
		loud = append(loud, notice{"fair", "Upgraded", p.String() + "."})
	}
	for _, db := range s.Databases {
		if g := db.BreakGlass; g != nil && g.Active {
			text := fmt.Sprintf("%s logs in with its emergency credential since %s", db.Name, clock(g.Since))
			if !g.Until.IsZero() {
				text += ", for another " + human(g.Until.Sub(s.Now).Seconds())
			}
			loud = append(loud, notice{"bad", "Break-glass is in use", text + ". Reason: " + g.Reason})
		}
	}
	for _, db := range s.Databases {
		c := db.Credential
		switch {
		case c.Stale:
			loud = append(loud, notice{"bad", "Stale credential", db.Name + " may not use the credential it holds any more, and its source gives no newer one."})
		case c.FetchError != "" && c.VersionID != "":
			text := fmt.Sprintf("The source of %s answers %q. The credential it gave %s serves on", db.Name, c.FetchError, Ago(s.Now, c.Confirmed))
			if !c.UsableUntil.IsZero() {
				text += ", for another " + human(c.UsableUntil.Sub(s.Now).Seconds())
			}
			loud = append(loud, notice{"fair", "Credential cannot be refreshed", text + "."})
		}
	}
	for _, db := range s.Databases {
		if db.Replacement != "" {
			loud = append(loud, notice{"fair", "New configuration waits", fmt.Sprintf("%s goes on as it was configured before: %s.", db.Name, db.Replacement)})
		}
	}
	for _, d := range s.Discovery {
		if d.Error != "" {
			loud = append(loud, notice{"fair", "Discovery has no answer", d.String() + "."})
		}
	}
	if r := s.Reload; r != nil && !r.OK {
		loud = append(loud, notice{"bad", "Configuration refused", fmt.Sprintf("The one read %s has a mistake, which the log names. The one before is in force.", Ago(s.Now, r.At))})
	}
	return loud
}

// human writes seconds with two units at most, such as "1.2 s" or "3h 5m".
func human(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", max(d, 0).Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return units(int(d.Minutes()), "m", int(d.Seconds())%60, "s")
	case d < 48*time.Hour:
		return units(int(d.Hours()), "h", int(d.Minutes())%60, "m")
	}
	return units(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
}

func units(n int, unit string, rest int, smaller string) string {
	if rest == 0 {
		return fmt.Sprint(n, unit)
	}
	return fmt.Sprint(n, unit, " ", rest, smaller)
}

// Ago writes how long before now t was, such as "1m 30s ago".
func Ago(now, t time.Time) string {
	if d := now.Sub(t); d >= time.Second {
		return human(d.Seconds()) + " ago"
	}
	return "just now"
}

func until(now, t time.Time) string {
	if d := t.Sub(now); d >= time.Second {
		return "in " + human(d.Seconds())
	}
	return "now"
}

// clock shows a time of day in UTC, as the log does.
func clock(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// short is the start of a version id, as metrics show it.
func short(version string) string { return strings.ToValidUTF8(version[:min(8, len(version))], "") }

func perSecond(r float64) string {
	if r == 0 || r >= 10 {
		return fmt.Sprintf("%.0f", r)
	}
	return fmt.Sprintf("%.2f", r)
}

func byteCount(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 1000 && unit < 4 {
		v, unit = v/1000, unit+1
	}
	return fmt.Sprintf("%.1f %cB", v, " kMGT"[unit])
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// at hands a template two values.
func at(now time.Time, b *Breaker) struct {
	Now time.Time
	*Breaker
} {
	return struct {
		Now time.Time
		*Breaker
	}{now, b}
}
