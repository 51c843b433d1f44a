package wire

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// ServerError is an ERR packet of the database (page "ERR_Packet").
type ServerError struct {
	Raw     []byte // the payload as it came
	Code    uint16
	State   string // empty before the client's flags are known
	Message string
}

func (e *ServerError) Error() string {
	return fmt.Sprintf("the database said: ERROR %d (%s): %s", e.Code, e.State, e.Message)
}

// StatusCode returns the error number, for traces.
func (e *ServerError) StatusCode() string { return strconv.Itoa(int(e.Code)) }

// ParseError parses the payload of an ERR packet.
func ParseError(payload []byte) (*ServerError, error) {
	f := Fields{Rest: payload}
	f.take(1)
	code := f.take(2)
	if f.Err != nil {
		return nil, f.Err
	}
	e := &ServerError{Raw: payload, Code: binary.LittleEndian.Uint16(code)}
	if len(f.Rest) > 0 && f.Rest[0] == '#' {
		f.take(1)
		e.State = string(f.take(5))
	}
	e.Message = string(f.Rest)
	return e, f.Err
}
