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

// Errorf makes an [Error] of a reason and a formatted cause.
func Errorf(r Reason, format string, args ...any) error {
	return &Error{Reason: r, Err: fmt.Errorf(format, args...)}
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

// IsRejected reports whether err carries the mark of [Rejected].
func IsRejected(err error) bool {
	_, ok := errors.AsType[*rejection](err)
	return ok
}

// notSent marks an error as given before the database saw the credential.
type notSent struct{ err error }

func (u *notSent) Error() string { return u.err.Error() }
func (u *notSent) Unwrap() error { return u.err }

// MarkNotSent marks err as given before the credential was offered to the database:
// it ends the login, and says nothing of whether others need to wait for a verdict.
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

// IsWrongEndpoint reports whether err carries the mark of [Unreached].
func IsWrongEndpoint(err error) bool {
	_, ok := errors.AsType[*wrongEndpoint](err)
	return ok
}
