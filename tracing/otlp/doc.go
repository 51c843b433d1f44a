// Package otlp sends the spans of logins to a receiver, in OpenTelemetry's protocol over
// HTTP. It owns the SDK of OpenTelemetry and nobody else knows it. Sampler, batches, limits and
// resource are the SDK's, from its standard environment; the client is the package's own,
// because the SDK's exporter over HTTP brings gRPC with it: 2 MB of binary, and as much memory
// while tracing is off.
//
// Invariants: nobody who hands over a login ever waits; what is not sent yet is bounded, and
// more is left out and counted. Headers for the receiver, and what it answers, are never told.
//
// The package records nothing: package tracing does.
package otlp
