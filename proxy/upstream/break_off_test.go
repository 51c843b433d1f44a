package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/nettest"
)

// deadlines tells when a deadline was set.
type deadlines struct {
	net.Conn
	set chan time.Time
}

func (d deadlines) SetDeadline(t time.Time) error { d.set <- t; return nil }

func TestBreakOff(t *testing.T) {
	why := errors.New("the client left")
	ctx, cancel := context.WithCancelCause(t.Context())
	conn := deadlines{set: make(chan time.Time, 1)}
	if err := BreakOff(ctx, conn, func() error { return nil }); err != nil {
		t.Errorf("done in time: %v", err)
	}
	if err := BreakOff(ctx, conn, func() error { return io.EOF }); err != io.EOF {
		t.Errorf("failed in time: %v", err)
	}
	// What is done when ctx ends has failed: the deadline may come later still.
	err := BreakOff(ctx, conn, func() error { cancel(why); return nil })
	if err != why {
		t.Errorf("done too late: %v", err)
	}
	if at := <-conn.set; at.After(time.Now()) {
		t.Errorf("deadline %v", at)
	}
}

func TestBreakOffEndsAWait(t *testing.T) {
	conn, _ := nettest.Pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := BreakOff(ctx, conn, func() error {
		cancel()
		_, err := conn.Read(make([]byte, 1))
		return err
	})
	if nerr, ok := errors.AsType[net.Error](err); !ok || !nerr.Timeout() {
		t.Errorf("the wait ended with %v", err)
	}
}
