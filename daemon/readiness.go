package daemon

import (
	"github.com/credproxy/credproxy/secrets"
)

func (d *daemon) notStarted() (reasons []string) {
	for _, db := range d.databases() {
		if !db.listening.Load() {
			reasons = append(reasons, db.cfg.Name+": not listening yet")
		}
	}
	return reasons
}

func (d *daemon) notReady() []string {
	if d.draining.Load() {
		return []string{"shutting down"}
	}
	var reasons []string
	for _, db := range d.databases() {
		if why := db.notReady(); why != "" {
			reasons = append(reasons, db.cfg.Name+": "+why)
		}
	}
	return append(reasons, d.notStarted()...) // last: a consequence, as a rule
}

// notReady returns why the database's clients cannot be logged in, "" if they can.
func (db *database) notReady() string {
	if why := db.failure.Load(); why != nil {
		return "not listening: " + *why
	}
	s := db.cache.Status()
	emergency := s.Emergency != nil && !s.EmergencyRefused
	switch {
	case emergency: // the secret's does not matter
	case s.Preferred == nil && s.Err != nil:
		return "no credential yet: " + string(secrets.ReasonOf(s.Err))
	case s.Preferred == nil:
		return "no credential yet"
	case s.Stale:
		return "the credential has expired or is older than rotation.max_stale, and its source does not answer"
	case s.Refused:
		return "the database refused the credential"
	}
	if why := db.prober.Unproven(); why != "" && !emergency {
		return why
	}
	if db.server.Active() >= int64(db.cfg.Limits.MaxConnections) {
		return "limits.max_connections is reached"
	}
	return ""
}
