// Package systemd tells systemd what a service does: that it is ready, reloads or stops, what is
// going on, and that it lives.
//
// Invariant: only the main process of the service says anything, since systemd listens to no other.
// Without systemd nothing happens.
//
// The package decides nothing: what the service is and does it asks the functions it is given.
package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

const (
	// statusEvery is how often the status text for systemd is renewed.
	statusEvery = 5 * time.Second
	// startPatience is how long systemd hears of no end of the start while a database
	// does not listen. It would end all of them at TimeoutStartSec=, 90 s by default,
	// because of one whose secret is missing.
	startPatience = 10 * time.Second
)

// Notifier tells systemd of one service.
type Notifier struct {
	Log     *zap.Logger
	Main    func() bool   // this process is the main one
	Summary func() string // one line for people
}

// notify tells of a change of state (sd_notify(3)).
func (n *Notifier) notify(state string) {
	if !n.Main() {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.Log.Warn("systemd cannot be told", zap.String("state", state), zap.Error(err))
	}
}

// Ready ends the start or a reload.
func (n *Notifier) Ready() { n.notify(daemon.SdNotifyReady + "\nSTATUS=" + n.Summary()) }

// Reloading begins a reload, which Ready ends.
func (n *Notifier) Reloading() {
	n.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping begins the end.
func (n *Notifier) Stopping() { n.notify(daemon.SdNotifyStopping) }

// HandOver makes another process the main one, of which alone systemd hears from then on.
func (n *Notifier) HandOver(pid int) { n.notify(fmt.Sprintf("MAINPID=%d", pid)) }

// Keep tells until ctx ends what is going on, and that the process lives: each time it asks for the
// summary. A start that takes too long it ends by late.
func (n *Notifier) Keep(ctx context.Context, late func()) {
	every := statusEvery
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.Log.Warn("WATCHDOG_USEC cannot be read", zap.Error(err))
	}
	if patience > 0 {
		every = min(every, patience/2)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	tooLate := time.After(startPatience)
	for {
		state := "STATUS=" + n.Summary()
		if patience > 0 {
			state += "\n" + daemon.SdNotifyWatchdog
		}
		n.notify(state)
		select {
		case <-tick.C:
		case <-tooLate:
			late()
		case <-ctx.Done():
			return
		}
	}
}
