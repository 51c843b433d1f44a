//go:build !linux

package upstream

import "time"

// setUserTimeout does nothing: keepalive probes alone tell.
func setUserTimeout(uintptr, time.Duration) error { return nil }
