package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing wrong with a configuration.
type Error struct {
	File         string
	Line, Column int    // from 1; where the value stands, or the section it is missing from
	Path         string // such as databases[0].tls.mode; "" for the file as a whole
	Message      string // what is wrong; what to write instead
}

// Error returns "file:line:column: path: message".
func (e Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", e.File, e.Line, e.Column, e.Path, e.Message)
}

// invalid marks an error that lies in the configuration, or in what it names.
type invalid struct{ error }

func (e invalid) Unwrap() error { return e.error }

// Invalid marks err as one that lies in the configuration, or in what it names, and that
// shows only when the configuration is put to work. Its text stays the same.
func Invalid(err error) error { return invalid{err} }

// IsInvalid reports whether err, or one that it wraps, was marked by [Invalid].
func IsInvalid(err error) bool {
	_, marked := errors.AsType[invalid](err)
	return marked
}

// Errors is everything wrong with a configuration, in the order of the file.
type Errors []Error

// Error returns one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// sort orders by position. Errors at one position keep their order.
func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
