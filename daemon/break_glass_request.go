package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/secrets"
)

// breakGlassTimeout bounds the reading of an emergency credential.
const breakGlassTimeout = 10 * time.Second

// emergency remembers why and since when a database uses its emergency
// credential. Whether it still does is the cache's to say.
type emergency struct {
	mu     sync.Mutex
	reason string
	since  time.Time
}

// breakGlass does what an operator asked for, for the database named or for all that
// have an emergency credential. It changes all or none.
func (d *daemon) breakGlass(req admin.BreakGlassRequest) error {
	d.breaking.Lock()
	defer d.breaking.Unlock()
	if d.upgrades.Busy() { // the new process has been told already of what there is
		return errors.New("an upgrade is under way; try again when it is over")
	}
	var chosen []*database
	for _, db := range d.databases() {
		if (req.Database == "" || req.Database == db.cfg.Name) && db.cfg.BreakGlass.File != "" {
			chosen = append(chosen, db)
		}
	}
	if len(chosen) == 0 && req.Database != "" {
		return fmt.Errorf("database %s is not configured, or has no break_glass.file", req.Database)
	}
	if len(chosen) == 0 {
		return errors.New("no database has an emergency credential; set break_glass.file")
	}
	if req.End {
		d.older.EndBreakGlass(req.Database)
		return d.endBreakGlass(chosen)
	}
	ctx, cancel := context.WithTimeout(d.serving, breakGlassTimeout)
	defer cancel()
	creds := make([]*secrets.Credential, len(chosen))
	for i, db := range chosen {
		if limit := db.cfg.BreakGlass.MaxDuration; time.Duration(req.Duration) > limit {
			return fmt.Errorf("database %s: %v is longer than break_glass.max_duration, %v", db.cfg.Name, time.Duration(req.Duration), limit)
		}
		var err error
		if creds[i], err = db.emergencySource.Fetch(ctx, secrets.Current); err != nil {
			db.log.Error("break-glass: the emergency credential cannot be read", zap.Bool("audit", true), zap.Error(err))
			return fmt.Errorf("database %s: the emergency credential cannot be read (%s); the log of credproxy says why", db.cfg.Name, secrets.ReasonOf(err))
		}
	}
	for i, db := range chosen {
		db.beginEmergency(creds[i], time.Duration(req.Duration), req.Reason)
	}
	return nil
}

// endBreakGlass ends the use of the emergency credential by the databases chosen, and by
// those that still accept in their place.
func (d *daemon) endBreakGlass(chosen []*database) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	ended := false
	for _, db := range chosen {
		for other := range d.alive {
			if other.cfg.Name == db.cfg.Name {
				ended = other.cache.EndBreakGlass() || ended
			}
		}
	}
	if !ended {
		return errors.New("no database uses its emergency credential")
	}
	return nil
}

// beginEmergency has logins use cred for d, or for as long as is allowed if d is 0.
func (db *database) beginEmergency(cred *secrets.Credential, d time.Duration, reason string) {
	if d <= 0 {
		d = db.cfg.BreakGlass.MaxDuration
	}
	db.emergency.mu.Lock()
	db.emergency.reason, db.emergency.since = reason, time.Now()
	db.emergency.mu.Unlock()
	db.log.Warn("break-glass asked for", zap.Bool("audit", true), zap.String("reason", reason), zap.Duration("duration", d))
	db.cache.BreakGlass(cred, d)
}

// inheritEmergency goes on with the emergency of the database that db replaces, if
// db knows of such a thing.
func (db *database) inheritEmergency(old *database) {
	if db.cfg.BreakGlass.File == "" {
		old.cache.EndBreakGlass()
		return
	}
	if !db.cache.TakeOverEmergency(old.cache) {
		return
	}
	old.emergency.mu.Lock()
	reason, since := old.emergency.reason, old.emergency.since
	old.emergency.mu.Unlock()
	db.emergency.mu.Lock()
	defer db.emergency.mu.Unlock()
	db.emergency.reason, db.emergency.since = reason, since
}

// breakGlassStatus returns what the status shows, nil for a database without an emergency credential.
func (db *database) breakGlassStatus(known secrets.Status) *admin.BreakGlass {
	switch {
	case db.cfg.BreakGlass.File == "":
		return nil
	case known.Emergency == nil:
		return &admin.BreakGlass{}
	}
	db.emergency.mu.Lock()
	defer db.emergency.mu.Unlock()
	return &admin.BreakGlass{Active: true, Reason: db.emergency.reason, Since: db.emergency.since.Round(0), Until: known.EmergencyUntil.Round(0)}
}
