package postgres

import (
	"errors"

	"github.com/jackc/pgproto3/v2"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
)

// cannotConnectNow is the one code after which libpq goes on to the next host of its list
// and pg_isready says that the server rejects connections: to libpq any other means that
// a server is there and minds the client (PQconnectPoll and internal_ping in
// fe-connect.c). pgjdbc tries the next host after any error; so does pgx, but for 28P01,
// 3D000 and 42501.
const cannotConnectNow = "57P03"

// adminShutdown is what the server says to a session that it ends.
const adminShutdown = "57P01"

// sqlstates maps what keeps a client out to the code with which drivers do the right
// thing (appendix "PostgreSQL Error Codes"): what another host, or a later attempt, may
// not have is cannotConnectNow.
var sqlstates = map[fault.Kind]string{
	fault.ClientProtocol: "08P01", // protocol_violation
	fault.NotAllowed:     "28000", // invalid_authorization_specification
	fault.TooMany:        "53300", // too_many_connections
	fault.ShuttingDown:   cannotConnectNow,
	fault.SecretProblem:  cannotConnectNow,
	fault.Unreachable:    cannotConnectNow,
	fault.UpstreamTLS:    cannotConnectNow,
	fault.Timeout:        cannotConnectNow,
	fault.UpstreamAuth:   "28000",
	fault.UpstreamBroken: cannotConnectNow,
}

// errorResponse encodes err for a client that is not logged in: the database's own
// message as it came, or one of ours.
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
	return fatal(code, e)
}

// fatal encodes e as the end of a connection.
func fatal(code string, e *fault.Error) []byte {
	b, err := (&pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code,
		Message: "credproxy: " + e.Message, Hint: e.Hint,
	}).Encode(nil)
	if err != nil {
		return nil
	}
	return b
}
