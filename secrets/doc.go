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
// The login policy is a machine with three states for each secret:
//
//	trusted ──refused──▶ searching ──accepted──▶ trusted
//	   │  ▲                 │  ▲
//	1 s│  │accepted         │  │jittered backoff, while a rotation is under way
//	   ▼  │                 ▼  │   and Options.Grace has not passed
//	 unproven             refused ──▶ every login fails at once, until a label
//	                                  moves or a refusal is old enough
//
// While a credential is trusted, any number of logins offer it at the same time.
// In every other state one login at a time, the one that holds the search token, offers
// the versions in the order above, each once, and the others wait for its verdict: whatever the
// number of clients, a rotation costs the database a handful of failed logins: those
// that were offering the old password when it changed ([Credential.RejectedSince]). A
// login that ends without a verdict on its credential (no connection, no answer in
// time, too many connections) lets the others through, because there is nothing to
// wait for, unless the database refused the credential before; one that ends before the
// credential was offered says nothing. A token is doubted only after several refusals in
// a row: RDS refuses good ones when it is short of CPU.
//
// Where the database is AWSCURRENT says alone. The other labels contribute user and
// password.
//
// Invariant: a password leaves a [Credential] only through [Release], which knows the
// method, the link and the kind of the credential.
// Printing, formatting, logging or marshalling a Credential shows its user name
// and version, never the password.
//
// The package knows nothing of AWS, of wire protocols or of connections. It does
// not write secrets anywhere.
package secrets
