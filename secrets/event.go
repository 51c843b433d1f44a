package secrets

import (
	"context"
)

// EventKind says what happened to a credential.
type EventKind string

const (
	// Fetched: a source was asked for the version under Stage; Err tells how it
	// went, Reason why it was asked.
	Fetched EventKind = "fetched"
	// Checked: a source was asked, and the label still names the version that is
	// held; nothing was fetched. Reason is why it was asked.
	Checked EventKind = "checked"
	// DescribeDenied: a [Labelled] source did not say which labels there are, because
	// that is not allowed, with Err; the cache does without for a while.
	DescribeDenied EventKind = "described"
	// Rotated: AWSCURRENT names another version than before.
	Rotated EventKind = "rotated"
	// Tried: a login offered Credential to the database. Err is nil when the
	// database accepted it, whatever came of the login then, carries the mark of
	// MarkRejected when it refused the credential, and is anything else when the login
	// failed for another cause.
	Tried EventKind = "tried"
	// EmergencyBegan and EmergencyEnded bound the time in which logins use the
	// emergency credential (see Cache.BreakGlass).
	EmergencyBegan EventKind = "emergency_began"
	EmergencyEnded EventKind = "emergency_ended"
)

// Why a source was asked, for [Event.Reason].
const (
	ReasonStart         = "start"     // nothing was held yet
	ReasonSchedule      = "schedule"  // the refresh interval passed
	ReasonRotation      = "rotation"  // a planned rotation is near
	ReasonExpiry        = "expiry"    // the held credential is about to expire
	ReasonRejected      = "rejected"  // the database refused the held one
	ReasonUserRefused   = "user"      // the database refused the held one's user
	ReasonWrongEndpoint = "unreached" // the database is not where the held one says
	ReasonChanged       = "changed"   // the source said that it changed
)

// FetchReasons lists them all.
func FetchReasons() []string {
	return []string{ReasonStart, ReasonSchedule, ReasonRotation, ReasonExpiry, ReasonRejected, ReasonUserRefused, ReasonWrongEndpoint, ReasonChanged}
}

// Event is one thing that happened to one secret. It never holds a password in
// the open: Credential redacts itself.
type Event struct {
	Kind       EventKind
	Stage      Stage
	Credential *Credential // nil if there is none
	Reason     string
	Err        error
	// Peer is the client of a login, as WithPeer named it; "" for what credproxy
	// does by itself.
	Peer string
	// Stale says that a login was tried while the source could not be asked, on
	// the strength of what was learned earlier.
	Stale bool
}

type peerKey struct{}

// WithPeer returns a context whose logins tell in their events who they are for.
func WithPeer(ctx context.Context, peer string) context.Context {
	return context.WithValue(ctx, peerKey{}, peer)
}

func peerOf(ctx context.Context) string {
	peer, _ := ctx.Value(peerKey{}).(string)
	return peer
}
