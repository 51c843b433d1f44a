// Package wire reads and writes the packets of the MySQL client/server protocol, as
// MySQL and MariaDB speak it, that a login and credproxy's own statements consist of.
// [CommandScanner] finds the one command of a session that credproxy answers itself.
//
// Invariants: every length that a peer can send is capped before memory is taken for it,
// and what a peer sends never makes the package panic: each decoder has a fuzz target.
// What is parsed and encoded again is the same, but for what is changed on purpose.
//
// The package keeps no state but the count of packets, and knows no credential.
//
// The reference is "Client/Server Protocol" in the MySQL source documentation; page
// names in comments are its.
package wire
