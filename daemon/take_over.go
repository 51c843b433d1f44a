package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/upgrade"
)

// readyEvery is how often a process that is to take over looks whether it could.
const readyEvery = 20 * time.Millisecond

// isMain reports whether this process is the one that serves.
func (d *daemon) isMain() bool {
	select {
	case <-d.main:
		return !d.handedOver.Load()
	default:
		return false
	}
}

// becomeMain has this process be the one that serves. If all has opened before, systemd could not be told then.
func (d *daemon) becomeMain() {
	close(d.main)
	if d.opened.Load() {
		d.notifyReady()
	}
}

// upgradeRefusal returns why this process cannot be replaced yet.
func (d *daemon) upgradeRefusal() error {
	if !d.isMain() {
		return errors.New("this process is about to take over itself; try again in a moment")
	}
	return nil
}

// awaitMain returns when this process serves, or when ctx ends.
func (d *daemon) awaitMain(ctx context.Context) {
	select {
	case <-d.main:
	case <-ctx.Done():
	}
}

// takeOver takes the place of the old process, and then tells of the end of old ones until public ends.
// A process that was started as ever has nobody's.
func (d *daemon) takeOver(ctx, public context.Context, failed chan<- error) {
	if d.succession == nil {
		d.becomeMain()
		close(d.decided)
		return
	}
	err := d.succeed(ctx)
	if err == nil {
		d.becomeMain()
	}
	close(d.decided)
	if err != nil {
		if ctx.Err() == nil {
			failed <- err
		}
		return
	}
	d.log.Info("upgrade: this process serves now", zap.Int("number", d.succession.Number()))
	d.older.Watch(public, func(o upgrade.Origin) { d.log.Info("an older process has ended", zap.Int("pid", o.PID)) })
}

// readHandover reads what the old process says, before anything is opened.
func (d *daemon) readHandover() error {
	if d.succession == nil {
		return nil
	}
	if err := d.succession.State(&d.old); err != nil {
		return fmt.Errorf("what the old process says: %w", err)
	}
	d.proven.Store(d.old.Proven)
	maps.Copy(d.listeners.defaults, d.old.Defaults)
	return nil
}

// succeed returns when the old process has left.
func (d *daemon) succeed(ctx context.Context) error {
	if err := d.awaitReady(ctx); err != nil {
		return err
	}
	if err := d.succession.Ready(ctx); err != nil {
		return err
	}
	d.AcceptAgain()
	if err := d.succession.Settle(ctx); err != nil {
		return fmt.Errorf("the old process goes on: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ln := range d.listeners.open {
		proxy.KeepFile(ln.Listener, false)
	}
	d.sockets.KeepFile(false)
	return nil
}

// awaitReady returns when the clients of each database can be logged in, but for those where the old
// process could not either, and emergencies go on.
func (d *daemon) awaitReady(ctx context.Context) error {
	old := &d.old
	ctx, cancel := context.WithTimeoutCause(ctx, old.Timeout, fmt.Errorf("not ready within %s", old.Timeout))
	defer cancel()
	looks := time.NewTicker(readyEvery)
	defer looks.Stop()
	for begun := false; ; {
		reasons := []string{"not all listeners are open"}
		if d.opened.Load() && !begun {
			begun = true
			for _, emergency := range old.Emergencies {
				if err := d.goOn(emergency); err != nil {
					return fmt.Errorf("go on with the emergency of %s: %w", emergency.Database, err)
				}
			}
		}
		if why := d.finder.Unanswered(); why != "" && !old.Unanswered {
			reasons = []string{why} // a database that it would find has listeners that wait for it
		} else if begun {
			reasons = slices.DeleteFunc(d.troubles(), func(why string) bool {
				return slices.ContainsFunc(old.Troubled, func(name string) bool { return strings.HasPrefix(why, name+": ") })
			})
		}
		if len(reasons) == 0 {
			return nil
		}
		select {
		case <-looks.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), strings.Join(reasons[:min(len(reasons), 3)], "; "))
		}
	}
}

// goOn begins the rest of an emergency, for as long as this process's configuration allows, if at all.
func (d *daemon) goOn(e underWay) error {
	left := time.Until(e.Until)
	for _, db := range d.databases() {
		if limit := db.cfg.BreakGlass.MaxDuration; db.cfg.Name == e.Database && db.cfg.BreakGlass.File != "" && left > 0 {
			return d.breakGlass(admin.BreakGlassRequest{Database: e.Database, Reason: e.Reason, Duration: admin.Duration(min(left, limit))})
		}
	}
	return nil
}
