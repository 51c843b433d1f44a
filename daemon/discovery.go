package daemon

import (
	"context"
	"reflect"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/config/change"
)

// found applies the configuration in force with what discovery has found since. Databases
// that were found and could not listen try again. After an error nothing has changed. It calls
// opened when those that are new have tried to accept.
func (d *daemon) found(ctx context.Context, opened func(error)) {
	before := d.config()
	outcome := d.finder.Complete(before)
	cfg := outcome.Config
	if reflect.DeepEqual(cfg, before) {
		d.finder.Applied(outcome)
		d.listenAgain(d.databases())
		opened(nil)
		return
	}
	if err := d.apply(ctx, outcome, true, opened); err != nil {
		d.log.Error("what discovery found cannot be served; all stays as it was", zap.Error(err))
		opened(nil)
		return
	}
	added, changed, removed := change.Difference(before, cfg)
	d.log.Info("new configuration in force", zap.String("because", "discovery"),
		zap.Strings("added", added), zap.Strings("changed", changed), zap.Strings("removed", removed))
}

// listenAgain has those of databases that were found and could not listen try once more.
func (d *daemon) listenAgain(databases []*database) {
	for _, db := range databases {
		if db.fileConfig.Found && db.failure.Load() != nil && !d.mustWait(db) { // else it tries all the time
			_ = d.open(db, db.fileConfig.Engine) // it says so itself
		}
	}
}

// noDatabase begins why nothing is served. No database has such a name.
const noDatabase = "no database"

// nothingServed returns why there is no database at all, "" if there is one.
func (d *daemon) nothingServed(cfg *config.Config) string {
	if len(cfg.Databases) > 0 {
		return ""
	}
	if why := d.finder.Unanswered(); why != "" {
		return noDatabase + ": " + why
	}
	return noDatabase + ": discovery has found none"
}
