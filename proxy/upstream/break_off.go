package upstream

import (
	"context"
	"fmt"
	"net"

	"github.com/credproxy/credproxy/proxy/relay"
)

// BreakOff calls do, which uses conn, and makes the end of ctx break off what do waits
// for there. Once ctx has ended conn is good for nothing any more, even if do was done:
// its deadline is past, or may be at any moment. The error then is the cause of ctx.
func BreakOff(ctx context.Context, conn net.Conn, do func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(relay.Past) })
	err := do()
	if !stop() && err == nil {
		return context.Cause(ctx)
	}
	return err
}

// Why returns why a step of a login failed that [BreakOff] called: with err, unless ctx has
// ended, whose cause it was then.
func Why(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%v: %w", err, context.Cause(ctx)) // for the log, the step too
	}
	return err
}
