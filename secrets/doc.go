// Package secrets holds database credentials and decides which one a login
// tries next.
//
// A [Source] fetches versions of one secret from where they are kept (Secrets
// Manager, an IAM token signer, a file, the environment). A [Cache] keeps what a
// source gave, refreshes it on a schedule, and runs [Cache.Login], the one place
// in credproxy that picks credentials:
//
//	last accepted → AWSCURRENT fetched anew → AWSPENDING → AWSPREVIOUS
//
// Each version is offered to the database at most once per login, and a version
// the database has rejected is not offered again for a while, so that a storm of
// clients does not hammer the database with a dead password.
//
// Invariant: a password leaves a [Credential] only through [Credential.Password].
// Printing, formatting, logging or marshalling a Credential shows its user name
// and version, never the password.
//
// The package knows nothing of AWS, of wire protocols or of connections. It does
// not write secrets anywhere.
package secrets
