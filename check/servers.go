package check

import (
	"context"
	"fmt"
	"time"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/topology"
	"github.com/credproxy/credproxy/wiring"
)

// servers asks the server that the login led to what it is, and for the others.
func (c *checker) servers(ctx context.Context) Step {
	ask, at := topology.AskPostgres, topology.Place{Host: c.host, Port: c.port}
	if c.engine != config.Postgres {
		ask = topology.AskMySQL
	}
	hosts := wiring.Hosts(c.db)
	answer, err := ask(ctx, loginEach{c}, at, hosts...)
	if err != nil {
		return failure(err)
	}
	s := fine("%s is a %s", at, answer.Self)
	for _, i := range answer.Instances {
		s.Detail += fmt.Sprintf("; %s: %s", i.Label(), i.Role)
		if i.Lag > 0 {
			s.Detail += fmt.Sprintf(", %s behind", i.Lag.Round(time.Millisecond))
		}
	}
	if answer.Switchover != topology.NoSwitchover {
		s.Detail += "; Blue/Green switchover " + answer.Switchover.String()
	}
	if len(answer.Instances) == 0 && len(hosts) == 0 {
		s.Result, s.Advice = Warning, "It names no other server, and hosts is empty: after a failover credproxy knows only the name."
	}
	return s
}

// loginEach is a session for which each query logs in.
type loginEach struct{ *checker }

// Query implements topology.Session.
func (l loginEach) Query(ctx context.Context, statements ...string) ([][]string, error) {
	return l.query(ctx, l.upstream, l.cred, "", statements...)
}
