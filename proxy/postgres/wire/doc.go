// Package wire reads and writes the messages of the PostgreSQL frontend/backend
// protocol that a login and credproxy's own statements consist of.
//
// Invariant: every length that a peer can send is capped before memory is taken for
// it, and what a peer sends never makes the package panic: each decoder has a fuzz
// target.
//
// The package keeps no state of a connection and knows no credential. It parses no
// message of a session that is relayed.
//
// The reference is the section "Message Formats" of the PostgreSQL manual.
package wire
