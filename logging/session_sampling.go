package logging

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// How many lines about sessions a database's clients can put into the log: of each
// message this many in a second, and then each hundredth. Whatever is left out is in
// the metrics.
const (
	sessionLines     = 100
	sessionLinesThen = 100
)

// Sampled returns log for lines about sessions. Lines about credentials and about the
// state of credproxy do not go through it: they are few, and none may be missing. At
// level debug nothing is left out.
func Sampled(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return sampling{core, zapcore.NewSamplerWithOptions(core, time.Second, sessionLines, sessionLinesThen)}
	}))
}

// sampling decides at each line, because the level can change.
type sampling struct {
	zapcore.Core
	sampled zapcore.Core
}

// Check implements zapcore.Core.
func (s sampling) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if s.Enabled(zap.DebugLevel) {
		return s.Core.Check(e, ce)
	}
	return s.sampled.Check(e, ce)
}

// With implements zapcore.Core.
func (s sampling) With(fields []zap.Field) zapcore.Core {
	return sampling{s.Core.With(fields), s.sampled.With(fields)}
}
