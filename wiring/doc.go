// Package wiring makes the parts that a configuration describes: sources of credentials,
// the dialer of a database, its protocol's engine, certificates, users.
//
// Invariant: everything that depends on which section of a configuration is set stands here, once.
// Errors name the key of the configuration that is at fault.
//
// The package starts nothing and keeps nothing: whoever asks for a part owns it. It
// knows the parts of one database, not how databases follow each other.
package wiring
