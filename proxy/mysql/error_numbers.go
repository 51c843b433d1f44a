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

var codes = map[fault.Kind]code{
	fault.ClientProtocol: {mysql.ER_MALFORMED_PACKET, "HY000"},
	fault.NotAllowed:     {mysql.ER_ACCESS_DENIED_ERROR, "28000"},
	fault.TooMany:        {mysql.ER_CON_COUNT_ERROR, "08004"},
	fault.ShuttingDown:   {mysql.ER_SERVER_SHUTDOWN, "08S01"},
	fault.UpstreamBroken: {mysql.ER_UNKNOWN_ERROR, "08S01"},
	fault.Unreachable:    {mysql.ER_UNKNOWN_ERROR, "08S01"},
	fault.UpstreamTLS:    {mysql.ER_UNKNOWN_ERROR, "08S01"},
	fault.Timeout:        {mysql.ER_UNKNOWN_ERROR, "08S01"},
}

// errorPacket encodes err for the client: the database's own as it came, or one
// of ours. Before the client has told its flags there is no SQLSTATE in it.
func errorPacket(err error, withState bool) []byte {
	if se, ok := errors.AsType[*wire.ServerError](err); ok {
		return se.Raw
	}
	e := fault.As(err)
	c, ok := codes[e.Kind]
	if !ok {
		c = code{mysql.ER_UNKNOWN_ERROR, "HY000"}
	}
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
