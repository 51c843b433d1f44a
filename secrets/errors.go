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
// the log. A client may see only Reason.
type Error struct {
	Reason Reason
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

// Rejected marks err as the database's refusal of the credential itself, which
// makes [Cache.Login] try the next version. Any other error ends the login.
func Rejected(err error) error { return &rejection{err} }

// IsRejected tells whether err carries the mark of [Rejected].
func IsRejected(err error) bool {
	_, ok := errors.AsType[*rejection](err)
	return ok
}

// unoffered marks an error as given before the database saw the credential.
type unoffered struct{ err error }

func (u *unoffered) Error() string { return u.err.Error() }
func (u *unoffered) Unwrap() error { return u.err }

// Unoffered marks err as given before the credential was offered to the database:
// it ends the login, and says nothing of whether others need to wait for a verdict.
func Unoffered(err error) error { return &unoffered{err} }

func isUnoffered(err error) bool {
	_, ok := errors.AsType[*unoffered](err)
	return ok
}

// unreached marks an error as the failure to get to the database.
type unreached struct{ err error }

func (u *unreached) Error() string { return u.err.Error() }
func (u *unreached) Unwrap() error { return u.err }

// Unreached marks err as the failure to reach a database at the place that the
// credential itself names, which makes [Cache.Login] look whether the secret
// names another one by now.
func Unreached(err error) error { return &unreached{err} }

// IsUnreached tells whether err carries the mark of [Unreached].
func IsUnreached(err error) bool {
	_, ok := errors.AsType[*unreached](err)
	return ok
}
