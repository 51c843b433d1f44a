package secrets

// EventKind says what happened to a credential.
type EventKind string

const (
	// Fetched: a source was asked for the version under Stage; Err tells how it
	// went, Reason why it was asked.
	Fetched EventKind = "fetched"
	// Rotated: AWSCURRENT names another version than before.
	Rotated EventKind = "rotated"
	// Tried: a login offered Credential to the database. Err is nil when the
	// database accepted it, carries the mark of Rejected when it refused the
	// credential, and is anything else when the login failed for another cause.
	Tried EventKind = "tried"
)

// Why a source was asked, for [Event.Reason].
const (
	ReasonStart     = "start"     // nothing was held yet
	ReasonSchedule  = "schedule"  // the refresh interval passed
	ReasonExpiry    = "expiry"    // the held credential is about to expire
	ReasonRejected  = "rejected"  // the database refused the held one
	ReasonUnreached = "unreached" // the database is not where the held one says
	ReasonChanged   = "changed"   // the source said that it changed
)

// Event is one thing that happened to one secret. It never holds a password in
// the open: Credential redacts itself.
type Event struct {
	Kind       EventKind
	Stage      Stage
	Credential *Credential // nil if there is none
	Reason     string
	Err        error
}
