package main

import (
	"errors"

	"github.com/credproxy/credproxy/config"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // bad usage or configuration
	// exitNeedsRestart is for scripts that then restart what runs.
	exitNeedsRestart = 3
)

// usageError marks an error that lies in how credproxy was called. One that lies in its
// configuration is marked by config.Invalid, or comes from reading it.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// loggedError marks an error that is in the log already, beside which a line for people
// would be one that readers of JSON cannot take.
type loggedError struct{ error }

func (e loggedError) Unwrap() error { return e.error }

// restartError marks that what runs cannot be asked to upgrade.
type restartError struct{ error }

// exitStatus returns the exit status of a command that returned err.
func exitStatus(err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[usageError](err); ok || config.IsInvalid(err) {
		return exitUsage
	}
	if _, ok := errors.AsType[restartError](err); ok {
		return exitNeedsRestart
	}
	return exitFailed
}
