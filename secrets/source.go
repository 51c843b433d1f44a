package secrets

import "context"

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

// Watcher is a [Source] that notices by itself when its secret changes. Watch
// calls changed after each change, possibly with nothing really changed, until
// ctx ends. It returns only then, or when it cannot watch.
type Watcher interface {
	Watch(ctx context.Context, changed func()) error
}
