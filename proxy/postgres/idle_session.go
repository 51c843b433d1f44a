package postgres

import (
	"bytes"

	"github.com/credproxy/credproxy/proxy/fault"
)

// ready is a ReadyForQuery without its last byte, the state of the transaction.
var ready = []byte{'Z', 0, 0, 0, 5}

// farewell is a relay.Farewell. Between two messages the protocol allows an error
// at any time; that a client was sent a whole one is known of ReadyForQuery.
func farewell(tail []byte, why error) (message []byte, idle bool) {
	if len(tail) == 0 { // the last message was ours, the cancel key
		return fatal(adminShutdown, fault.As(why)), false
	}
	n := len(tail) - len(ready) - 1
	if n < 0 || !bytes.HasPrefix(tail[n:], ready) {
		return nil, false
	}
	return fatal(adminShutdown, fault.As(why)), tail[len(tail)-1] == 'I'
}
