package daemon

import (
	"github.com/credproxy/credproxy/config"
)

// needRestart lists the keys that differ and are read at the start only.
func needRestart(before, after *config.Config) (keys []string) {
	if before.Admin != after.Admin {
		keys = append(keys, "admin")
	}
	if before.Log.Format != after.Log.Format {
		keys = append(keys, "log.format")
	}
	if before.Metrics != after.Metrics {
		keys = append(keys, "metrics")
	}
	return keys
}
