// Package tracing records what one login does, as a tree of spans: what it waited for, for
// how long, and what came of it. A [Login] travels in the context of the login; whoever
// does a step of it calls [Start] and [Span.End], and need not know who listens.
//
// Invariants: where nobody listens [Start] returns the context it was given, and nothing is
// allocated; a login has at most 256 spans of at most 16 attributes each, whatever it goes
// through; a text has at most 256 bytes.
//
// The package sends nothing and knows no OpenTelemetry: package tracing/otlp does, after
// the login.
package tracing
