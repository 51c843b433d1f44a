package proxy

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/relay"
)

// Log returns a logger whose lines name the session. It is made anew each time: one
// kept for as long as the session lasts would cost 2 KB.
func (s *Session) Log() *zap.Logger {
	s.identify()
	return s.server.Log.With(s.about...)
}

// LoggedIn writes the session's start to the log.
func (s *Session) LoggedIn(fields ...zap.Field) {
	s.Phase("total", s.Accepted)
	s.write(s.server.Log.Check(zap.InfoLevel, "session started"), fields)
	s.endTrace(nil)
}

// write writes a line that names the session, if the log wants it. It spares a line that the
// log does not want the logger of [Session.Log].
func (s *Session) write(line *zapcore.CheckedEntry, fields []zap.Field) {
	if line != nil {
		s.identify()
		line.Write(append(slices.Clip(s.about), fields...)...)
	}
}

// report writes the session's last line and counts it.
func (s *Session) report(err error) {
	if err != nil {
		e := fault.As(err)
		s.server.Observer.SessionEnded(e.Kind, e.Told())
		log := s.Log()
		if e.Kind == fault.NotAllowed {
			log = s.server.refusals.Log(log, time.Now())
		}
		if ce := log.Check(e.Kind.Level(), "session failed"); ce != nil {
			ce.Write(zap.String("result", string(e.Kind)), zap.Error(err), zap.String("hint", e.Hint))
		}
		return
	}
	if s.outcome == nil {
		if !s.quiet {
			s.server.Observer.SessionEnded(fault.ClientGone, "")
		}
		return
	}
	s.server.Observer.SessionEnded(fault.OK, "")
	fields := []zap.Field{
		zap.Duration("duration", time.Since(s.Accepted)),
		zap.Int64("bytes_to_upstream", s.outcome.ToUpstream),
		zap.Int64("bytes_to_client", s.outcome.ToClient),
	}
	switch {
	case s.terminated != nil && fault.As(s.terminated).Kind == fault.Moved:
		fields = append(fields, zap.String("cause", "ended: "+s.terminated.Error()))
	case s.terminated != nil || s.ctx.Err() != nil:
		fields = append(fields, zap.String("cause", "ended by shutdown"))
	case s.outcome.Err != nil:
		fields = append(fields, zap.String("cause", plainCause(s.outcome.Err)))
	}
	s.write(s.server.Log.Check(zap.InfoLevel, "session ended"), fields)
}

// plainCause shortens what every operator has seen too often.
func plainCause(err error) string {
	if lost, ok := errors.AsType[*relay.LostError](err); ok && errors.Is(err, syscall.ECONNRESET) {
		return "connection reset by the " + lost.Side
	}
	return err.Error()
}
