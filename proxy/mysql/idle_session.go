package mysql

import (
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
)

// farewell is a relay.Farewell. Whatever command the client sends next, or has
// sent, it reads the error as the answer to it.
func farewell(tail []byte, why error) (message []byte, idle bool) {
	idle = true
	if len(tail) > 0 {
		payload := wire.LastPacket(tail)
		if payload == nil {
			return nil, false
		}
		const unfinished = mysql.SERVER_STATUS_IN_TRANS | mysql.SERVER_MORE_RESULTS_EXISTS
		status, ok := wire.StatusOf(payload)
		idle = ok && status&unfinished == 0
	}
	packet := encodeError(code{mysql.ER_SERVER_SHUTDOWN, away}, fault.As(why), true)
	return append([]byte{byte(len(packet)), byte(len(packet) >> 8), 0, 1}, packet...), idle
}
