package pool

import (
	"context"
	"time"
)

// Conn is a server session.
type Conn interface {
	// Reset makes the session as a fresh one is. After an error it is good for nothing.
	Reset(ctx context.Context) error
	// Watch returns when ctx ends, and then reports true; or when the server says something
	// that nobody asked for, or is gone: false. If ctx has ended before, it reports what holds
	// at that moment.
	Watch(ctx context.Context) (quiet bool)
	Close() error
}

// Options say how many sessions are kept, and for how long.
type Options struct {
	MaxIdle     int           // kept for the next client
	Warm        int           // of them, opened ahead of any client
	MaxOpen     int           // server sessions in all; 0: no limit
	WaitTimeout time.Duration // for one of MaxOpen
	IdleTimeout time.Duration
	MaxLifetime time.Duration // less a jitter
	Observe     func(Event)   // hears what happens; nil: nobody does
}

// Event is what happened to a session, or to who waited for one.
type Event struct {
	Kind   EventKind
	Reason Reason        // of Closed
	Took   time.Duration // of Waited and Reset
}

// EventKind is the kind of an [Event].
type EventKind int

const (
	Opened EventKind = iota
	Reused
	Closed
	Waited // for one of MaxOpen, until there was one or the time was over
	Reset
)

// Reason is why a session was closed.
type Reason string

const (
	Unfit       Reason = "unfit"        // its client left it in a state that is not known to be clean
	ResetFailed Reason = "reset_failed" // it could not be made as a fresh one
	Retired     Reason = "retired"      // it is of an earlier generation: a rotation, a reload, an emergency
	Surplus     Reason = "surplus"      // MaxIdle are kept
	Evicted     Reason = "evicted"      // to make room for another key
	Idle        Reason = "idle"         // for IdleTimeout
	Aged        Reason = "aged"         // MaxLifetime
	ServerEnded Reason = "server"       // the server ended it, or said something of its own accord
	Shutdown    Reason = "shutdown"
)

// Reasons lists them all.
func Reasons() []Reason {
	return []Reason{Unfit, ResetFailed, Retired, Surplus, Evicted, Idle, Aged, ServerEnded, Shutdown}
}
