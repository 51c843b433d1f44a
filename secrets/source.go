package secrets

import (
	"context"
	"time"
)

// Source fetches one secret from where it is kept. Implementations are safe for
// concurrent use, honour ctx, and do not cache: that is [Cache]'s part.
type Source interface {
	// Fetch returns the version that carries stage. Its errors are *Error; the
	// reason is NoVersion when nothing carries the label, which every source
	// answers for Pending and Previous if it knows no labels.
	Fetch(ctx context.Context, stage Stage) (*Credential, error)
	// Kind is the source's name in metrics and logs: "secrets_manager", "iam",
	// "file" or "env".
	Kind() string
}

// Labelled is a [Source] that can tell which version carries which staging label
// without giving away the versions themselves, so that a version is read once in
// its life. Its errors are *Error; one whose reason is Denied makes [Cache] use
// Fetch instead.
type Labelled interface {
	Source
	Describe(ctx context.Context) (Labels, error)
	// FetchVersion returns the version with this id. The reason of its error is
	// NoVersion when there is none, or none with a value yet.
	FetchVersion(ctx context.Context, id string) (*Credential, error)
}

// Labels is what is known of a secret without its value.
type Labels struct {
	Versions     map[Stage]string // version ids; no entry where no version carries the label
	LastRotation time.Time        // zero: never, or not told
	// NextRotation is when the next rotation is to be done at the latest; it may
	// be in the past if rotations fail. Zero if none is planned.
	NextRotation time.Time
	// Window is how long before NextRotation the rotation may begin.
	Window time.Duration
}

// Watcher is a [Source] that notices by itself when its secret changes. Watch
// calls changed after each change, possibly with nothing really changed, until
// ctx ends. It returns only then, or when it cannot watch.
type Watcher interface {
	Watch(ctx context.Context, changed func()) error
}
