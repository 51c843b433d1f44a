package daemon

import (
	"slices"

	"github.com/credproxy/credproxy/config"
)

// needRestart lists the keys that differ and are read at the start only.
func needRestart(before, after *config.Config) (keys []string) {
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
