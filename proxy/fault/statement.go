package fault

import (
	"fmt"
)

// SQLError is what a database says against a statement of credproxy's own.
type SQLError struct {
	Code    string // SQLSTATE of PostgreSQL, error number of MySQL and MariaDB
	Message string
}

func (e *SQLError) Error() string {
	return fmt.Sprintf("the database said: %s (%s)", e.Message, e.Code)
}

// StatusCode returns the code, for traces.
func (e *SQLError) StatusCode() string { return e.Code }

// ErrStatement is a statement of credproxy's own that the database refused.
func ErrStatement(said *SQLError) *Error {
	return &Error{Kind: UpstreamRefused, Message: "the database refused a statement", Err: said}
}

// ErrAnswer is a connection that broke while a statement of credproxy's own was
// answered, or an answer that breaks the protocol or a cap.
func ErrAnswer(what string, err error) *Error {
	return &Error{Kind: UpstreamBroken, Message: "the connection to the database broke during a statement: " + what,
		Hint: "The database's log may tell more.", Err: err}
}
