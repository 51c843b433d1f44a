package daemon

import (
	"context"
	"fmt"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
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

// notify tells systemd of a change of state (sd_notify(3)). Without systemd it does
// nothing.
func (d *daemon) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		d.log.Warn("systemd cannot be told", zap.String("state", state), zap.Error(err))
	}
}

// notifyReloading begins a reload, which notifyReady ends.
func (d *daemon) notifyReloading() {
	d.notify(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
}

// notifyReady ends the start or a reload.
func (d *daemon) notifyReady() {
	if !d.draining.Load() {
		d.notify(systemd.SdNotifyReady + "\nSTATUS=" + d.summary())
	}
}

// keepSystemd tells systemd until ctx ends what is going on, and that credproxy
// lives: each time it looks at all databases, under the locks that sessions need.
func (d *daemon) keepSystemd(ctx context.Context) {
	every := statusEvery
	patience, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		d.log.Warn("WATCHDOG_USEC cannot be read", zap.Error(err))
	}
	if patience > 0 {
		every = min(every, patience/2)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	late := time.After(startPatience)
	for {
		state := "STATUS=" + d.summary()
		if patience > 0 {
			state += "\n" + systemd.SdNotifyWatchdog
		}
		d.notify(state)
		select {
		case <-tick.C:
		case <-late:
			d.notifyReady()
		case <-ctx.Done():
			return
		}
	}
}

// summary returns one line for people.
func (d *daemon) summary() string {
	databases := d.databases()
	var sessions int64
	for _, db := range databases {
		sessions += db.server.Active()
	}
	text := fmt.Sprintf("databases: %d, sessions: %d", len(databases), sessions)
	state := "Ready"
	if len(d.notReady()) > 0 {
		state = "Not ready"
	}
	switch reasons := d.troubles(); len(reasons) {
	case 0:
		return state + ": " + text
	case 1:
		return state + ": " + reasons[0] + "; " + text
	default:
		return fmt.Sprintf("%s: %s, and %d more; %s", state, reasons[0], len(reasons)-1, text)
	}
}
