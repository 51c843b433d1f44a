package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/credproxy/credproxy/integration/rotator"
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
	if !db.alternating && db.fresh.failed != len(db.windows) {
		wrong("AWSCURRENT worked in the window: nothing was shown")
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
		{"  window, setSecret to finishSecret", (*database).windowTimes},

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

		{"Calls to Secrets Manager", nil},
		{"  by credproxy", func(db *database) string { return s.calls(db, false) }},
		{"  by the rotation function", func(db *database) string { return s.calls(db, true) }},

		{"Login time, median", nil},
		{"  directly", func(db *database) string { return ms(db.direct) }},
		{"  through credproxy", func(db *database) string { return ms(db.proxied) }},

		{"Logins without credproxy that failed", nil},
		{"  password read once, at the start", func(db *database) string { return db.stale.String() }},
		{"  AWSCURRENT read in the window", func(db *database) string { return db.fresh.String() }},
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

// calls counts in AWS's own log.
func (s *stage) calls(db *database, byFunction bool) string {
	var n int64
	for _, c := range s.aws.Log() {
		if c.SecretID == db.secret() && (c.AccessKeyID == rotator.AccessKeyID) == byFunction {
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
