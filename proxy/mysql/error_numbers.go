package mysql

import (
	"encoding/binary"
	"errors"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
)

// code is an error number with its SQLSTATE ("Server Error Message Reference").
type code struct {
	number uint16
	state  string
}

// Numbers of the client library's own errors ("Client Error Message Reference").
// mysqladmin takes every other number for the word of a server that is there: ping then
// exits with status 0. With connHostError, --wait waits.
const (
	unknownClientError = 2000 // CR_UNKNOWN_ERROR
	connHostError      = 2003 // CR_CONN_HOST_ERROR: there is no server
	sslConnectionError = 2026 // CR_SSL_CONNECTION_ERROR
)

// away is the SQLSTATE by which Connector/J of MySQL and of MariaDB go on to the next of
// several hosts, and pools throw a connection away (communication link failure).
const away = "08S01"

// codes maps what went wrong at a login to what clients do about it;
// docs/troubleshooting.md has the table.
var codes = map[fault.Kind]code{
	fault.ClientProtocol: {mysql.ER_MALFORMED_PACKET, "HY000"},
	fault.NotAllowed:     {mysql.ER_ACCESS_DENIED_ERROR, "28000"},
	fault.TooMany:        {mysql.ER_CON_COUNT_ERROR, "08004"},
	fault.ShuttingDown:   {connHostError, away},
	fault.UpstreamBroken: {connHostError, away},
	fault.Unreachable:    {connHostError, away},
	fault.UpstreamTLS:    {sslConnectionError, away},
	fault.Timeout:        {connHostError, away},
	fault.Moved:          {connHostError, away},
	fault.SecretProblem:  {connHostError, away}, // nobody gets in here, but perhaps elsewhere or later
}

// isAway reports whether err, if a client hears of it, says that there is no database to be
// had here.
func isAway(err error) bool {
	if _, said := errors.AsType[*wire.ServerError](err); said {
		return false
	}
	e := fault.As(err)
	return !e.Silent && codes[e.Kind].state == away
}

// errorPacket encodes err for the client: the database's own as it came, or one
// of ours. Before the client has told its flags there is no SQLSTATE in it.
//
// libmariadb shows "Received malformed packet" in place of an error of a server that has
// a number of the client's own, but for the lowest.
func errorPacket(err error, withState, libMariaDB bool) []byte {
	if se, ok := errors.AsType[*wire.ServerError](err); ok {
		return se.Raw
	}
	e := fault.As(err)
	c, ok := codes[e.Kind]
	if !ok {
		c = code{mysql.ER_UNKNOWN_ERROR, "HY000"}
	}
	if libMariaDB && c.state == away {
		c.number = unknownClientError
	}
	return encodeError(c, e, withState)
}

func encodeError(c code, e *fault.Error, withState bool) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{mysql.ERR_HEADER}, c.number)
	if withState {
		b = append(append(b, '#'), c.state...)
	}
	b = append(b, "credproxy: "+e.Message...)
	if e.Hint != "" {
		b = append(b, ". "+e.Hint...)
	}
	return b
}
