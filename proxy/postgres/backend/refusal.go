package backend

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgproto3/v2"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/secrets"
)

// ServerError is an ErrorResponse of the database.
type ServerError struct {
	Raw    []byte // the message as it came, after what a client is to see before it
	Fields pgproto3.ErrorResponse
}

func (e *ServerError) Error() string {
	return fmt.Sprintf("the database said: %s: %s (SQLSTATE %s)", e.Fields.Severity, e.Fields.Message, e.Fields.Code)
}

// StatusCode returns the SQLSTATE, for traces; "" if what the database sent is none.
func (e *ServerError) StatusCode() string {
	foreign := func(r rune) bool { return !('0' <= r && r <= '9' || 'A' <= r && r <= 'Z') }
	if len(e.Fields.Code) != 5 || strings.ContainsFunc(e.Fields.Code, foreign) {
		return ""
	}
	return e.Fields.Code
}

// Refusal makes an error of an ErrorResponse that ended a login with cred.
func Refusal(m wire.Message, cred *secrets.Credential) error {
	se := &ServerError{Raw: m.Raw}
	if err := se.Fields.Decode(m.Body()); err != nil {
		return Broken("an error message that cannot be read", err)
	}
	e := &fault.Error{Kind: fault.UpstreamRefused, Message: "the database refused the login", Err: se}
	if se.blamesCredential(!cred.Expires.IsZero()) {
		e.Kind = fault.CredentialRejected
		e.Message = "the database refused the credential"
		e.Hint = "Compare the secret with the database: was the password changed by hand, or did a rotation fail?"
		if !cred.Expires.IsZero() { // a token
			e.Hint = "Is rds_iam granted to the user, and rds-db:connect allowed to the AWS credentials? Have these expired? Is signing_host what RDS shows as endpoint? For Aurora DSQL: is dsql:DbConnect (of admin DbConnectAdmin) allowed, and was AWS IAM GRANT run for the role?"
		}
		return secrets.MarkRejected(e)
	}
	switch {
	case se.blamesUser():
		return secrets.MarkUserRefused(e)
	case se.blamesClient():
		return secrets.MarkNotSent(e)
	}
	return e
}

// blamesClient reports whether the error is about what the startup packet says: the
// protocol, a setting, the encoding of a name.
func (e *ServerError) blamesClient() bool {
	switch e.Fields.Code {
	case "0A000", "22021", "22023":
		return true
	}
	return false
}

// blamesUser reports whether the error means that this user may not log in, where another
// one perhaps may: it has no LOGIN, no line in pg_hba.conf, no CONNECT on the database or
// no right to the role, or as many sessions as it may have. The limits of the server and
// of a database have the same SQLSTATE as the role's own.
func (e *ServerError) blamesUser() bool {
	switch e.Fields.Code {
	case "28000", "42501":
		return true
	case "53300":
		return e.Fields.Routine == "InitializeSessionUserId"
	}
	return false
}

// IsDatabaseMissing reports whether err is the database's word that there is none of the
// name asked for.
func IsDatabaseMissing(err error) bool {
	se, ok := errors.AsType[*ServerError](err)
	return ok && se.Fields.Code == "3D000" // invalid_catalog_name
}

// blamesCredential reports whether the error means that user name or password are
// wrong. 28P01 does; 28000 does when a method that looks at the password says so,
// like PAM (which RDS uses for IAM), but not when pg_hba.conf has no entry, or asks
// this database's clients for a certificate or a ticket. A token has PAM alone to
// refuse it: there the routine tells, because messages may be translated.
func (e *ServerError) blamesCredential(token bool) bool {
	switch e.Fields.Code {
	case "28P01":
		return true
	case "28000":
		return token && e.Fields.Routine == "auth_failed" || slices.ContainsFunc(passwordRefused, func(s string) bool {
			return strings.Contains(e.Fields.Message, s)
		})
	}
	return false
}

var passwordRefused = []string{
	"unable to accept connection, access denied", // Aurora DSQL
	"PAM authentication failed", "IAM authentication", "LDAP authentication failed", "RADIUS authentication failed",
}

// Broken is a database that breaks the protocol or the connection.
func Broken(what string, err error) error {
	return &fault.Error{Kind: fault.UpstreamBroken, Message: "the connection to the database broke during login: " + what,
		Hint: "Is this the port of a PostgreSQL server? Its log may tell more.", Err: err}
}
