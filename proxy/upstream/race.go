package upstream

import (
	"context"
	"errors"
	"net"
	"time"
)

const (
	// attemptDelay is how long an address has for an answer before the next one is
	// tried, too (RFC 8305, 8: Connection Attempt Delay).
	attemptDelay = 250 * time.Millisecond

	// maxAddresses is how many addresses of one name are tried.
	maxAddresses = 32
)

// race returns the first connection that connect makes to one of addrs, which are not
// empty, in the way of RFC 8305: they take their turn, IPv6 and IPv4 alternately,
// attemptDelay apart, or at once when an attempt fails, and none has to end for the next
// to begin. All have begun after half of the time that ctx has. The error is that of
// every attempt. Nothing goes on when race returns: the other attempts are broken off,
// and what they connected is closed.
func race(ctx context.Context, addrs []net.IPAddr, connect func(context.Context, net.IPAddr) (net.Conn, error)) (net.Conn, error) {
	if len(addrs) == 1 {
		return connect(ctx, addrs[0])
	}
	addrs = alternate(addrs)
	addrs = addrs[:min(len(addrs), maxAddresses)]
	delay := attemptDelay
	if deadline, ok := ctx.Deadline(); ok {
		delay = min(delay, time.Until(deadline)/time.Duration(2*len(addrs)))
	}
	ctx, breakOff := context.WithCancel(ctx)
	defer breakOff()

	type attempt struct {
		conn net.Conn
		err  error
	}
	var (
		ended   = make(chan attempt)
		running int
		won     net.Conn
		failed  []error
		turn    = time.NewTimer(0)
	)
	defer turn.Stop()
	for len(addrs) > 0 || running > 0 {
		select {
		case <-turn.C:
			if len(addrs) == 0 {
				continue
			}
			next := addrs[0]
			addrs = addrs[1:]
			running++
			go func() {
				conn, err := connect(ctx, next)
				ended <- attempt{conn, err}
			}()
			turn.Reset(delay)
		case a := <-ended:
			running--
			switch {
			case a.err != nil:
				failed = append(failed, a.err)
				turn.Reset(0)
			case won == nil:
				won, addrs = a.conn, nil
				breakOff()
			default:
				_ = a.conn.Close()
			}
		}
	}
	if won == nil {
		return nil, errors.Join(failed...)
	}
	return won, nil
}

// alternate orders addrs so that the families alternate, that of the first one first.
func alternate(addrs []net.IPAddr) []net.IPAddr {
	var same, other []net.IPAddr
	for _, a := range addrs {
		if (a.IP.To4() == nil) == (addrs[0].IP.To4() == nil) {
			same = append(same, a)
		} else {
			other = append(other, a)
		}
	}
	mixed := make([]net.IPAddr, 0, len(addrs))
	for len(same) > 0 && len(other) > 0 {
		mixed = append(mixed, same[0], other[0])
		same, other = same[1:], other[1:]
	}
	return append(append(mixed, same...), other...)
}
