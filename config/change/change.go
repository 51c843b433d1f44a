// Package change says what differs between two configurations, for the log.
//
// Invariant: it changes neither. What becomes of a difference is the daemon's to decide.
package change

import (
	"reflect"
	"slices"

	"github.com/credproxy/credproxy/config"
)

// NeedRestart lists the keys that differ and are read at the start only.
func NeedRestart(before, after *config.Config) (keys []string) {
	if before.Admin.Listen != after.Admin.Listen {
		keys = append(keys, "admin.listen")
	}
	if before.Admin.Control != after.Admin.Control {
		keys = append(keys, "admin.control")
	}
	if !slices.Equal(before.Admin.UIDs, after.Admin.UIDs) {
		keys = append(keys, "admin.uids")
	}
	if before.Log.Format != after.Log.Format {
		keys = append(keys, "log.format")
	}
	if before.Metrics != after.Metrics {
		keys = append(keys, "metrics")
	}
	if before.Tracing != after.Tracing {
		keys = append(keys, "tracing")
	}
	return keys
}

// Difference returns the names of the databases that after alone has, that both have and not
// alike, and that before alone has.
func Difference(before, after *config.Config) (added, changed, removed []string) {
	old := map[string]config.Database{}
	for _, db := range before.Databases {
		old[db.Name] = db
	}
	for _, db := range after.Databases {
		was, there := old[db.Name]
		delete(old, db.Name)
		switch {
		case !there:
			added = append(added, db.Name)
		case !reflect.DeepEqual(was, db):
			changed = append(changed, db.Name)
		}
	}
	for _, db := range before.Databases {
		if _, left := old[db.Name]; left {
			removed = append(removed, db.Name)
		}
	}
	return added, changed, removed
}
