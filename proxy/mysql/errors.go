package mysql

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

// serverError is an ERR packet of the database (page "ERR_Packet").
type serverError struct {
	raw     []byte // the payload as it came
	code    uint16
	state   string // empty before the client's flags are known
	message string
}

func (e *serverError) Error() string {
	return fmt.Sprintf("the database said: ERROR %d (%s): %s", e.code, e.state, e.message)
}

// parseError parses the payload of an ERR packet.
func parseError(payload []byte) (*serverError, error) {
	f := fields{b: payload}
	f.take(1)
	code := f.take(2)
	if f.err != nil {
		return nil, f.err
	}
	e := &serverError{raw: payload, code: binary.LittleEndian.Uint16(code)}
	if len(f.b) > 0 && f.b[0] == '#' {
		f.take(1)
		e.state = string(f.take(5))
	}
	e.message = string(f.b)
	return e, f.err
}

// refusal makes an error of an ERR packet that ended a login with cred. Only 1045
// blames the credential: no other version of it would help against 1044, 1049, 1040,
// 1129, 1130, 1203 or 1226.
func refusal(payload []byte, cred *secrets.Credential) error {
	se, err := parseError(payload)
	if err != nil {
		return broken("an error packet that cannot be read", err)
	}
	e := &fault.Error{Kind: fault.UpstreamRefused, Message: "the database refused the login", Err: se}
	if se.code == mysql.ER_ACCESS_DENIED_ERROR {
		e.Kind = fault.CredentialRejected
		e.Message = "the database refused the credential"
		e.Hint = "Compare the secret with the database: was the password changed by hand, or did a rotation fail? Is the user allowed from this host?"
		if !cred.Expires.IsZero() { // a token
			e.Hint = "Is the user identified with AWSAuthenticationPlugin AS 'RDS', and rds-db:connect allowed to the AWS credentials? Have these expired? Is signing_host what RDS shows as endpoint?"
		}
		return secrets.Rejected(e)
	}
	return e
}

// broken is a database that breaks the protocol or the connection.
func broken(what string, err error) error {
	return &fault.Error{Kind: fault.UpstreamBroken, Message: "the connection to the database broke during login: " + what,
		Hint: "Is this the port of a MySQL or MariaDB server? Its log may tell more.", Err: err}
}

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
	if se, ok := errors.AsType[*serverError](err); ok {
		return se.raw
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
