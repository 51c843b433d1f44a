package audit

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/secrets"
)

// auditRepeat is how often the log repeats what has not changed: that the source
// still cannot be asked, and that logins still rest on what it said earlier.
const auditRepeat = 5 * time.Minute

// Auditor writes the audit lines of one database.
type Auditor struct {
	log *zap.Logger

	mu       sync.Mutex
	accepted string // the version last said to be accepted
	failing  secrets.Reason
	since    time.Time // of failing
	failures int
	said     time.Time // the last line about failing
	stale    time.Time // the last line about stale logins
}

// New returns an Auditor whose lines name the secret.
func New(log *zap.Logger, secret string) *Auditor {
	return &Auditor{log: log.With(zap.Bool("audit", true), zap.String("secret", secret))}
}

// Event writes what e says, if it is news.
func (a *Auditor) Event(e secrets.Event) {
	fields := []zap.Field{zap.String("stage", string(e.Stage))}
	if e.Credential != nil {
		fields = append(fields, zap.String("version", e.Credential.VersionID), zap.String("user", e.Credential.Username))
	}
	switch e.Kind {
	case secrets.Fetched, secrets.Checked:
		a.asked(e, append(fields, zap.String("reason", e.Reason)))
	case secrets.DescribeDenied:
		a.log.Warn("labels not described: each refresh reads the secret, and planned rotations are not known", zap.Error(e.Err))
	case secrets.Rotated:
		a.log.Info("credential rotated", fields...)
	case secrets.Tried:
		a.tried(e, append(fields, zap.String("peer", e.Peer)))
	case secrets.EmergencyBegan:
		a.log.Warn("break-glass: logins use the emergency credential", fields...)
	case secrets.EmergencyEnded:
		a.log.Warn("break-glass has ended: logins use the secret again", fields...)
	}
}

// asked writes how a source answered: each new version, and each change between
// answering and not.
func (a *Auditor) asked(e secrets.Event, fields []zap.Field) {
	if e.Err != nil && (secrets.ReasonOf(e.Err) == secrets.NoVersion || errors.Is(e.Err, context.Canceled)) {
		a.log.Debug("no version carries the label", fields...)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if e.Err == nil {
		if a.failures > 0 {
			a.log.Info("the credential's source answers again", append(fields, zap.Duration("after", now.Sub(a.since)), zap.Int("failures", a.failures))...)
			a.failing, a.failures = "", 0
		}
		if e.Kind == secrets.Fetched {
			a.log.Info("credential fetched", fields...)
		}
		return
	}
	reason := secrets.ReasonOf(e.Err)
	if a.failures == 0 {
		a.since = now
	}
	a.failures++
	if reason == a.failing && now.Sub(a.said) < auditRepeat {
		return
	}
	a.failing, a.said = reason, now
	a.log.Warn("credential not fetched", append(fields, zap.Error(e.Err), zap.Int("failures", a.failures))...)
}

// tried writes each refusal, each version's first acceptance, and that logins rest
// on what a source that cannot be asked said earlier.
func (a *Auditor) tried(e secrets.Event, fields []zap.Field) {
	if secrets.IsRejected(e.Err) {
		a.log.Warn("credential rejected by the database", append(fields, zap.Error(e.Err))...)
		return
	}
	if e.Err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.accepted != e.Credential.VersionID {
		a.accepted = e.Credential.VersionID
		a.log.Info("credential accepted by the database", fields...)
	}
	if now := time.Now(); e.Stale && now.Sub(a.stale) >= auditRepeat {
		a.stale = now
		a.log.Warn("stale credential served: its source cannot be asked", fields...)
	}
}
