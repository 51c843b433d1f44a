package secrets

import (
	"errors"
	"fmt"
)

// Reason tells why a source could not give a credential. It is safe to show to
// a client and to use as a metric label.
type Reason string

const (
	NotFound    Reason = "not_found"     // the secret does not exist
	NoVersion   Reason = "no_version"    // no version carries the staging label
	Denied      Reason = "access_denied" // we may not read it (policy, key, role)
	Malformed   Reason = "malformed"     // it is not what a database secret looks like
	Unavailable Reason = "unavailable"   // throttled, timed out, unreachable: try later
)

// Error is a source's failure. Err may name ARNs, paths and endpoints: it is for
// the log. A client may see only Reason and Hint.
type Error struct {
	Reason Reason
	Hint   string // what to do about it, if it is not what Reason makes one think of
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error] of a reason and a formatted cause, with the hint of an [Error]
// in the cause's chain.
func Errorf(r Reason, format string, args ...any) error {
	e := &Error{Reason: r, Err: fmt.Errorf(format, args...)}
	if cause, ok := errors.AsType[*Error](e.Err); ok {
		e.Hint = cause.Hint
	}
	return e
}

// ReasonOf returns the reason of the first [Error] in err's chain, and
// [Unavailable] for any other error.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return Unavailable
}

// rejection marks an error as the database's word that a credential is wrong.
type rejection struct{ err error }

func (r *rejection) Error() string { return r.err.Error() }
func (r *rejection) Unwrap() error { return r.err }

// MarkRejected marks err as the database's refusal of the credential itself, which
// makes [Cache.Login] try the next version. Any other error ends the login.
func MarkRejected(err error) error { return &rejection{err} }

// IsRejected reports whether err carries the mark of [MarkRejected].
func IsRejected(err error) bool {
	_, ok := errors.AsType[*rejection](err)
	return ok
}

// userRefused marks an error as a refusal that another user might not get.
type userRefused struct{ err error }

func (u *userRefused) Error() string { return u.err.Error() }
func (u *userRefused) Unwrap() error { return u.err }

// MarkUserRefused marks err as a refusal that another user might not get: this one may
// not log in, or not to this database, or has too many sessions. [Cache.Login] looks
// whether AWSCURRENT names another one by now. Else err ends the login as it is.
func MarkUserRefused(err error) error { return &userRefused{err} }

// IsUserRefused reports whether err carries the mark of [MarkUserRefused].
func IsUserRefused(err error) bool {
	_, ok := errors.AsType[*userRefused](err)
	return ok
}

// accepted marks an error as given after the database took the credential.
type accepted struct{ err error }

func (a *accepted) Error() string { return a.err.Error() }
func (a *accepted) Unwrap() error { return a.err }

// MarkAccepted marks err as given after the database took the credential: it ends the
// login, and nothing is wrong with the credential.
func MarkAccepted(err error) error { return &accepted{err} }

func isAccepted(err error) bool {
	_, ok := errors.AsType[*accepted](err)
	return ok
}

// notSent marks an error as one into which the credential did not come.
type notSent struct{ err error }

func (u *notSent) Error() string { return u.err.Error() }
func (u *notSent) Unwrap() error { return u.err }

// MarkNotSent marks err as given before the credential was offered to the database, or
// for what this login alone asks of it: it ends the login, and says nothing of whether
// others need to wait for a verdict.
func MarkNotSent(err error) error { return &notSent{err} }

func isNotSent(err error) bool {
	_, ok := errors.AsType[*notSent](err)
	return ok
}

// wrongEndpoint marks an error as the failure to get to the database.
type wrongEndpoint struct{ err error }

func (u *wrongEndpoint) Error() string { return u.err.Error() }
func (u *wrongEndpoint) Unwrap() error { return u.err }

// MarkWrongEndpoint marks err as the failure to reach a database at the place that the
// credential itself names, which makes [Cache.Login] look whether the secret
// names another one by now.
func MarkWrongEndpoint(err error) error { return &wrongEndpoint{err} }

// IsWrongEndpoint reports whether err carries the mark of [MarkWrongEndpoint].
func IsWrongEndpoint(err error) bool {
	_, ok := errors.AsType[*wrongEndpoint](err)
	return ok
}
