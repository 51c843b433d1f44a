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

// Reasons lists them all.
func Reasons() []Reason { return []Reason{NotFound, NoVersion, Denied, Malformed, Unavailable} }

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

// mark is what a login may have to know of an error beside its text. An error can carry
// several.
type mark string

const (
	rejected      mark = "the database refused the credential itself"
	userRefused   mark = "another user might not be refused"
	accepted      mark = "the database had taken the credential"
	notSent       mark = "the credential did not come into it"
	wrongEndpoint mark = "the database is not where the credential says"
)

// Error makes a mark a target of errors.Is.
func (m mark) Error() string { return string(m) }

// marked is an error that carries a mark.
type marked struct {
	error
	mark mark
}

func (m *marked) Unwrap() error        { return m.error }
func (m *marked) Is(target error) bool { return target == m.mark }

// MarkRejected marks err as the database's refusal of the credential itself, which
// makes [Cache.Login] try the next version. Any other error ends the login.
func MarkRejected(err error) error { return &marked{err, rejected} }

// IsRejected reports whether err carries the mark of [MarkRejected].
func IsRejected(err error) bool { return errors.Is(err, rejected) }

// MarkUserRefused marks err as a refusal that another user might not get: this one may
// not log in, or not to this database, or has too many sessions. [Cache.Login] looks
// whether AWSCURRENT names another one by now. Else err ends the login as it is.
func MarkUserRefused(err error) error { return &marked{err, userRefused} }

// IsUserRefused reports whether err carries the mark of [MarkUserRefused].
func IsUserRefused(err error) bool { return errors.Is(err, userRefused) }

// MarkAccepted marks err as given after the database took the credential: it ends the
// login, and nothing is wrong with the credential.
func MarkAccepted(err error) error { return &marked{err, accepted} }

func isAccepted(err error) bool { return errors.Is(err, accepted) }

// MarkNotSent marks err as given before the credential was offered to the database, or
// for what this login alone asks of it: it ends the login, and says nothing of whether
// others need to wait for a verdict.
func MarkNotSent(err error) error { return &marked{err, notSent} }

func isNotSent(err error) bool { return errors.Is(err, notSent) }

// MarkWrongEndpoint marks err as the failure to reach a database at the place that the
// credential itself names, which makes [Cache.Login] look whether the secret
// names another one by now.
func MarkWrongEndpoint(err error) error { return &marked{err, wrongEndpoint} }

// IsWrongEndpoint reports whether err carries the mark of [MarkWrongEndpoint].
func IsWrongEndpoint(err error) bool { return errors.Is(err, wrongEndpoint) }
