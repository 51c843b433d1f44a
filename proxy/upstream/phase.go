package upstream

import (
	"time"

	"go.uber.org/zap"
)

// Phase hears how long a phase of a login took that began at start, and what came of
// it, for the log: the session's where a client
// logs in, else [NoPhase].
type Phase func(name string, start time.Time, details ...zap.Field)

// NoPhase is the [Phase] of credproxy's own logins, which are no client's.
func NoPhase(string, time.Time, ...zap.Field) {}
