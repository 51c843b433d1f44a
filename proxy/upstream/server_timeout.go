package upstream

import (
	"net"
	"syscall"
	"time"
)

// probes is how many keepalive probes go unanswered, in the second half of ServerTimeout,
// before a connection is dead.
const probes = 5

// dialer returns what opens connections that notice when their other end has vanished. What
// was sent must be acknowledged within ServerTimeout (TCP_USER_TIMEOUT of tcp(7), Linux
// only), and where nothing is to be sent keepalive probes ask: the application's own
// time-outs watch its connection to credproxy, which is always there.
func (u *Dialer) dialer() *net.Dialer {
	if u.ServerTimeout <= 0 {
		return new(net.Dialer)
	}
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: max(time.Second, u.ServerTimeout/2), Interval: max(time.Second, u.ServerTimeout/2/probes), Count: probes,
		},
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			if e := c.Control(func(fd uintptr) { err = setUserTimeout(fd, u.ServerTimeout) }); e != nil {
				return e
			}
			return err
		},
	}
}
