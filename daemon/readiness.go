package daemon

import (
	"fmt"
	"slices"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

// notStarted returns the databases that the process has not come to yet. One that waits
// for its secret is no reason: to start the process again would not bring it.
func (d *daemon) notStarted() (reasons []string) {
	for _, db := range d.databases() {
		if !db.begun.Load() {
			reasons = append(reasons, db.cfg.Name+": not listening yet")
		}
	}
	return reasons
}

// notReady returns why no clients should be sent here; none means that they may come.
//
// What keeps a database's new clients out is the same for every replica as a rule (its
// credential is refused, it is down), and takes one after the other out of service while
// their sessions work. So once each database of the file, and one at least, has accepted a
// credential, draining alone counts, unless the configuration says strict. One that was found is to
// harm itself alone, whoever has made it.
func (d *daemon) notReady() []string {
	if d.draining.Load() {
		return []string{"shutting down"}
	}
	strict := d.config().Admin.Readiness == config.Strict
	if d.wasProven() && !strict {
		return nil
	}
	var reasons []string
	if why := d.nothingServed(d.config()); why != "" {
		reasons = append(reasons, why)
	}
	for _, db := range d.databases() {
		if why := db.trouble(); why != "" && (strict || db.unproven()) {
			reasons = append(reasons, db.cfg.Name+": "+why)
		}
	}
	return reasons
}

// wasProven reports whether there was a time at which each database of the file, and one at
// least, had accepted a credential.
func (d *daemon) wasProven() bool {
	if !d.proven.Load() {
		all := d.databases()
		missing := func(db *database) bool { return !db.fileConfig.Found && db.unproven() }
		if slices.ContainsFunc(all, func(db *database) bool { return !db.unproven() }) && !slices.ContainsFunc(all, missing) {
			d.proven.Store(true)
		}
	}
	return d.proven.Load()
}

// unproven reports whether the database has not accepted a credential yet.
func (db *database) unproven() bool { return db.prober.Unproven() != "" }

// troubles returns what keeps new clients of the databases out, or draining.
func (d *daemon) troubles() (reasons []string) {
	if d.draining.Load() {
		return []string{"shutting down"}
	}
	if why := d.nothingServed(d.config()); why != "" {
		reasons = append(reasons, why)
	}
	for _, db := range d.databases() {
		if why := db.trouble(); why != "" {
			reasons = append(reasons, db.cfg.Name+": "+why)
		}
	}
	return reasons
}

// trouble returns why the database's clients cannot be logged in, "" if they can.
func (db *database) trouble() string {
	why := db.outOfOrder()
	if why == "" && db.server.Active() >= int64(db.cfg.Limits.MaxConnections) {
		return "limits.max_connections is reached"
	}
	return why
}

// outOfOrder is trouble that does not go away when clients leave.
func (db *database) outOfOrder() string {
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
	if !db.listening.Load() {
		return "not listening yet"
	}
	return ""
}

// notifyReady tells systemd of the end of the start or of a reload.
func (d *daemon) notifyReady() {
	if !d.draining.Load() {
		d.systemd.Ready()
	}
}

// summary returns one line for people.
func (d *daemon) summary() string {
	databases := d.databases()
	var sessions int64
	for _, db := range databases {
		sessions += db.server.Active()
	}
	text := fmt.Sprintf("databases: %d, sessions: %d", len(databases), sessions)
	state := "Ready"
	if len(d.notReady()) > 0 {
		state = "Not ready"
	}
	switch reasons := d.troubles(); len(reasons) {
	case 0:
		return state + ": " + text
	case 1:
		return state + ": " + reasons[0] + "; " + text
	default:
		return fmt.Sprintf("%s: %s, and %d more; %s", state, reasons[0], len(reasons)-1, text)
	}
}

// notOpen returns why nobody can be logged in at the database yet.
func (db *database) notOpen() error {
	if why := db.failure.Load(); why != nil {
		return &fault.Error{Kind: fault.SecretProblem, Message: *why}
	}
	if err := db.cache.Status().Err; err != nil {
		return err
	}
	return secrets.Errorf(secrets.Unavailable, "the first answer of the source is awaited")
}
