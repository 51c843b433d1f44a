package postgres

import (
	"errors"

	"github.com/jackc/pgproto3/v2"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
)

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
	if se, ok := errors.AsType[*backend.ServerError](err); ok {
		return se.Raw
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
