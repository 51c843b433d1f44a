package client

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/credproxy/credproxy/admin"
)

// WriteStatus writes s as a table, and below it what happened lately and what is not as it
// should be.
func WriteStatus(w io.Writer, s admin.Status) error {
	state := "ready"
	switch {
	case s.Draining:
		state = "shutting down"
	case !s.Ready:
		state = "not ready"
	case s.Trouble():
		state = "ready, with trouble"
	}
	fmt.Fprintf(w, "credproxy %s, process %d, up %s: %s\n\n", Visible(s.Version), s.PID, s.Now.Sub(s.Started).Round(time.Second), state)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DATABASE\tSTATE\tLISTENERS\tUPSTREAM\tSESSIONS\tLOGINS/S\tFAILED\tUSER\tVERSION\tCONFIRMED\tNEXT ROTATION")
	for _, db := range s.Databases {
		state := "ready"
		if !db.Ready {
			state = "not ready"
		}
		confirmed := "-"
		if at := db.Credential.Confirmed; !at.IsZero() {
			confirmed = admin.Ago(s.Now, at)
		}
		cells := []string{
			db.Name, state, dash(strings.Join(db.Listeners, ",")), dash(db.Upstream),
			fmt.Sprintf("%d/%d", db.Sessions.Active, db.Sessions.Limit),
			fmt.Sprintf("%.1f", db.Sessions.LoginsPerSecond), fmt.Sprint(db.Sessions.Failed),
			dash(db.Credential.User), dash(fmt.Sprintf("%.8s", db.Credential.VersionID)),
			confirmed, date(db.Credential.NextRotation),
		}
		for i, cell := range cells {
			cells[i] = Visible(cell)
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, lines := range [][]string{doings(s), troubles(s)} {
		if len(lines) == 0 {
			continue
		}
		if _, err := fmt.Fprintln(w, "\n"+strings.Join(lines, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// doings say what the page draws.
func doings(s admin.Status) (lines []string) {
	for _, d := range s.Discovery {
		lines = append(lines, Visible(d.String()))
	}
	for _, p := range s.Predecessors {
		lines = append(lines, Visible(p.String()))
	}
	for _, db := range s.Databases {
		say := func(format string, args ...any) {
			lines = append(lines, Visible(db.Name+": "+fmt.Sprintf(format, args...)))
		}
		if w := db.Recent; w != nil {
			took := ""
			if w.Logins > 0 {
				took = fmt.Sprintf(", half within %s and 99 %% within %s", admin.Took(w.P50), admin.Took(w.P99))
			}
			say("in the last %s %d logins, at most %.1f per second%s; at most %d sessions; %d failures",
				admin.Took(w.Seconds), w.Logins, w.MostPerSecond, took, w.MostSessions, w.Failures)
			for _, at := range w.Rotations {
				say("the credential rotated %s", admin.Ago(s.Now, at))
			}
		}
		if v := db.Servers; v != nil {
			say("%s", v)
		}
		if p := db.Pool; p != nil {
			closed := ""
			for _, reason := range slices.Sorted(maps.Keys(p.Closed)) {
				closed += fmt.Sprintf(", %d %s", p.Closed[reason], reason)
			}
			say("pool: %d idle, %d in use, %d waiting; %d reused, %d opened; closed: %s",
				p.Idle, p.InUse, p.Waiting, p.Reused, p.Opened, cmp.Or(strings.TrimPrefix(closed, ", "), "none"))
		}
	}
	return lines
}

// troubles are lines about what an operator should look at.
func troubles(s admin.Status) (lines []string) {
	if r := s.Reload; r != nil && !r.OK {
		lines = append(lines, fmt.Sprintf("the configuration read %s was refused, as the log tells; the one before is in force", admin.Ago(s.Now, r.At)))
	}
	for _, db := range s.Databases {
		say := func(format string, args ...any) {
			lines = append(lines, Visible(db.Name+": "+fmt.Sprintf(format, args...)))
		}
		if db.Reason != "" {
			say("%s", db.Reason)
		}
		if db.Replacement != "" {
			say("the new configuration does not serve yet, and the one before goes on: %s", db.Replacement)
		}
		if g := db.BreakGlass; g != nil && g.Active {
			say("the emergency credential is in use since %s, until %s: %s", date(g.Since), date(g.Until), g.Reason)
		}
		if b := db.SourceBreaker; b != nil && b.State != admin.BreakerClosed {
			say("the breaker in front of the credential's source is %s: %s", b.State, dash(b.Error))
		}
		if b := db.DatabaseBreaker; b != nil && b.State != admin.BreakerClosed {
			say("the breaker in front of the database is %s: %s", b.State, dash(b.Error))
		}
		if p := db.Probe; p != nil && !p.OK {
			say("credproxy's own login failed %s: %s", admin.Ago(s.Now, p.At), p.Error)
		}
		for _, f := range db.Failures {
			say("%d x %s, the last %s: %s", f.Count, f.Reason, admin.Ago(s.Now, f.Last), dash(f.Error))
		}
	}
	return lines
}

func dash(s string) string { return cmp.Or(s, "-") }

func date(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}
