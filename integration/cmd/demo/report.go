package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
)

// report prints the summary and returns what went wrong.
func (s *stage) report(ctx context.Context) error {
	var errs []error
	rows := [][]string{{""}}
	for _, db := range s.databases {
		var err error
		if db.rows, err = db.Rows(ctx); err != nil {
			return fmt.Errorf("%s: count rows: %w", db.name, err)
		}
		if db.offered, err = s.attempts(db); err != nil {
			return err
		}
		rows[0] = append(rows[0], db.name)
		errs = append(errs, db.verdict(s.plan)...)
	}
	for _, line := range s.lines() {
		row := []string{line.label}
		for _, db := range s.databases {
			if line.cell != nil {
				row = append(row, line.cell(db))
			}
		}
		rows = append(rows, row)
	}
	s.out.title("Summary")
	s.out.table(rows)
	s.out.title("What those logins heard")
	for _, db := range s.databases {
		s.out.line("%-9s %s", db.name, db.stale.message)
	}
	s.out.title("Why they differ")
	s.out.line("PostgreSQL has one password for a user: AWSCURRENT fails until finishSecret, unless two users take turns.")
	s.out.line("MySQL keeps the old one beside the new until the next rotation.")
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.out.title("Through credproxy no connection and no query failed.")
	return nil
}

// verdict is all that is not as promised.
func (db *database) verdict(p plan) (errs []error) {
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(db.name+": "+format, args...))
	}
	if n := db.load.failedConnections; n > 0 {
		wrong("%d connections failed:\n%s", n, db.load.messages)
	}
	if n := db.load.failedTransactions; n > 0 {
		wrong("%d transactions failed:\n%s", n, db.load.messages)
	}
	if db.load.transactions == 0 || db.written() != db.load.transactions {
		wrong("%d rows are in the database after %d transactions", db.written(), db.load.transactions)
	}
	if len(db.windows) != p.rotations {
		wrong("%d rotations of %d finished", len(db.windows), p.rotations)
	}
	if p.rotations > 1 && db.stale.failed == 0 {
		wrong("the first password worked to the end: nothing was shown")
	}
	if db.closed() && db.fresh.failed != len(db.windows) {
		wrong("AWSCURRENT worked in the window: nothing was shown")
	}
	if !db.closed() && db.fresh.failed > 0 {
		wrong("AWSCURRENT failed in the window: %s", db.fresh.message)
	}
	if n := db.function.refused(); n > 0 {
		wrong("the rotation function was refused %d logins in %d rotations", n, len(db.windows))
	}
	if db.alternating && len(db.made) != 1 {
		wrong("the rotation function made %d users", len(db.made))
	}
	return errs
}

func (db *database) written() (n int64) {
	for _, rows := range db.rows {
		n += rows
	}
	return n
}

// line is one line of the summary; without cell it is a heading.
type line struct {
	label string
	cell  func(*database) string
}

func (s *stage) lines() []line {
	return []line{
		{"Database", func(db *database) string { return db.Product() }},
		{"Rotation", (*database).rotation},
		{"  finished", func(db *database) string { return fmt.Sprint(len(db.windows)) }},
		{"  from setSecret to finishSecret", (*database).windowTimes},
		{"  meanwhile AWSCURRENT", (*database).meanwhile},

		{"The rotation function", nil},
		{"  calls of it by Secrets Manager", func(db *database) string { return count(int64(db.function.calls)) }},
		{"  its calls to Secrets Manager", func(db *database) string { return s.calls(db, true) }},
		{"  its logins that were refused", func(db *database) string { return count(int64(db.function.refused())) }},
		{"  users that it made", func(db *database) string { return cmp.Or(strings.Join(db.made, ", "), "none") }},

		{"Clients of credproxy", nil},
		{"  connections", func(db *database) string { return count(db.load.connections) }},
		{"    failed", func(db *database) string { return count(db.load.failedConnections) }},
		{"  queries", func(db *database) string { return count(db.load.queries) }},
		{"    failed", func(db *database) string { return count(db.load.failedTransactions) }},
		{"  rows written by " + users[0], func(db *database) string { return count(db.rows[users[0]]) }},
		{"  rows written by " + users[1], func(db *database) string { return count(db.rows[users[1]]) }},

		{"Credentials that credproxy offered", nil},
		{"  accepted, fetched as AWSCURRENT", func(db *database) string { return count(int64(db.offered.current)) }},
		{"  accepted, fetched as AWSPENDING", func(db *database) string { return count(int64(db.offered.pending)) }},
		{"  accepted, fetched as AWSPREVIOUS", func(db *database) string { return count(int64(db.offered.previous)) }},
		{"  refused, and the next one tried", func(db *database) string { return count(int64(db.offered.refused)) }},

		{"Calls of credproxy to Secrets Manager", func(db *database) string { return s.calls(db, false) }},

		{"Login time, median", nil},
		{"  directly", func(db *database) string { return ms(db.direct) }},
		{"  through credproxy", func(db *database) string { return ms(db.proxied) }},

		{"Logins without credproxy that failed", nil},
		{"  password read once, at the start", func(db *database) string { return db.stale.String() }},
		{"  AWSCURRENT read after setSecret", func(db *database) string { return db.fresh.String() }},
	}
}

func (a attempts) String() string { return fmt.Sprintf("%d of %d", a.failed, a.logins) }

func (db *database) windowTimes() string {
	var times []string
	for _, w := range db.windows {
		times = append(times, fmt.Sprintf("%.1f", w.open.Seconds()))
	}
	return strings.Join(times, ", ") + " s"
}

// meanwhile is how AWSCURRENT fared between setSecret and finishSecret.
func (db *database) meanwhile() string {
	if db.fresh.failed > 0 {
		return "fails"
	}
	return "works"
}

// calls counts in AWS's own log those of the function, its master's secret included,
// or those of credproxy.
func (s *stage) calls(db *database, byFunction bool) string {
	var n int64
	for _, c := range s.aws.Log() {
		if own := c.AccessKeyID == db.function.keyID; own && byFunction || !own && !byFunction && c.SecretID == db.secret() {
			n++
		}
	}
	return count(n)
}

// count writes 12345 as 12,345.
func count(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
