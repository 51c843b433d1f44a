// Package audit writes to the log what happens to a database's credential.
//
// Each event is one line with "audit": true that names the secret. What happens with
// each login is said when it changes: a version's first acceptance, and every refusal.
// Which version a session uses is in the line about the session's start.
//
// Invariant: nothing that it writes holds a password. Credentials redact themselves.
//
// The package keeps no record but the log, and decides nothing.
package audit
