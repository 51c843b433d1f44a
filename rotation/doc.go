// Package rotation rotates the secret of a database user: the four steps that Secrets
// Manager calls a rotation function with, and what belongs to them: a look ahead that
// changes nothing, a check that what AWSCURRENT says works, and the way back.
//
// Invariants: each step may be repeated, and broken off at any point and repeated, and ends
// as if it had run once; no credential is offered to a database more than once in a step, nor
// to another database than AWSCURRENT's or the master's; no link is used that is not verified
// TLS; what may fail for want of a right fails before anything was changed.
//
// The package knows no SQL: that is in rotation/postgres and rotation/mysql. It does not
// schedule, and it does not give a secret its function.
package rotation
