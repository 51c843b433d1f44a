// Package probe makes the background login: the one that nobody waits for, by which
// credproxy finds out whether a database takes the credential before clients do.
//
// A [Prober] logs in through the same cache as clients do, so that clients wait for its
// verdict on a new version instead of each making their own. [AcceptanceOf] says what a
// database's answer means for the credential, also to others who log in for credproxy.
//
// Invariant: a probe leaves nothing in the database, and probes alone lock no account.
//
// The package opens no connection itself and decides about no client's login.
package probe
