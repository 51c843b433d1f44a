package postgres

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

// serverError is an ErrorResponse of the database.
type serverError struct {
	raw    []byte // the message as it came
	fields pgproto3.ErrorResponse
}

func (e *serverError) Error() string {
	return fmt.Sprintf("the database said: %s: %s (SQLSTATE %s)", e.fields.Severity, e.fields.Message, e.fields.Code)
}

// refusal makes an error of an ErrorResponse that ended a login with cred.
func refusal(m wire.Message, cred *secrets.Credential) error {
	se := &serverError{raw: m.Raw}
	if err := se.fields.Decode(m.Body()); err != nil {
		return broken("an error message that cannot be read", err)
	}
	e := &fault.Error{Kind: fault.UpstreamRefused, Message: "the database refused the login", Err: se}
	if se.blamesCredential(!cred.Expires.IsZero()) {
		e.Kind = fault.CredentialRejected
		e.Message = "the database refused the credential"
		e.Hint = "Compare the secret with the database: was the password changed by hand, or did a rotation fail?"
		if !cred.Expires.IsZero() { // a token
			e.Hint = "Is rds_iam granted to the user, and rds-db:connect allowed to the AWS credentials? Have these expired? Is signing_host what RDS shows as endpoint?"
		}
		return secrets.Rejected(e)
	}
	return e
}

// blamesCredential tells whether the error means that user name or password are
// wrong. 28P01 does; 28000 does when a method that looks at the password says so,
// like PAM (which RDS uses for IAM), but not when pg_hba.conf has no entry, or asks
// this database's clients for a certificate or a ticket. A token has PAM alone to
// refuse it: there the routine tells, because messages may be translated.
func (e *serverError) blamesCredential(token bool) bool {
	switch e.fields.Code {
	case "28P01":
		return true
	case "28000":
		return token && e.fields.Routine == "auth_failed" || slices.ContainsFunc(passwordRefused, func(s string) bool {
			return strings.Contains(e.fields.Message, s)
		})
	}
	return false
}

var passwordRefused = []string{
	"PAM authentication failed", "IAM authentication", "LDAP authentication failed", "RADIUS authentication failed",
}

// broken is a database that breaks the protocol or the connection.
func broken(what string, err error) error {
	return &fault.Error{Kind: fault.UpstreamBroken, Message: "the connection to the database broke during login: " + what,
		Hint: "Is this the port of a PostgreSQL server? Its log may tell more.", Err: err}
}

// sqlstates maps what went wrong to the code that drivers know (appendix
// "PostgreSQL Error Codes").
var sqlstates = map[fault.Kind]string{
	fault.ClientProtocol: "08P01", // protocol_violation
	fault.NotAllowed:     "28000", // invalid_authorization_specification
	fault.TooMany:        "53300", // too_many_connections
	fault.ShuttingDown:   "57P01", // admin_shutdown
	fault.SecretProblem:  "57P03", // cannot_connect_now
	fault.Unreachable:    "08001", // sqlclient_unable_to_establish_sqlconnection
	fault.UpstreamTLS:    "08001",
	fault.Timeout:        "08001",
	fault.UpstreamAuth:   "28000",
	fault.UpstreamBroken: "08006", // connection_failure
}

// errorResponse encodes err for the client: the database's own message as it
// came, or one of ours.
func errorResponse(err error) []byte {
	if se, ok := errors.AsType[*serverError](err); ok {
		return se.raw
	}
	e := fault.As(err)
	code := sqlstates[e.Kind]
	if errors.Is(err, wire.ErrProtocol) {
		code = "0A000" // feature_not_supported
	}
	if code == "" {
		code = "XX000" // internal_error
	}
	b, encodeErr := (&pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code,
		Message: "credproxy: " + e.Message, Hint: e.Hint,
	}).Encode(nil)
	if encodeErr != nil {
		return nil
	}
	return b
}
