// Package backend logs in at a PostgreSQL database, with or without a client: [Login].
//
// A login is a list of steps: dial → TLS → startup packet → authentication. What serves
// clients, credproxy's own logins, the check and whatever else needs a session comes
// through here.
//
// Invariants: a login offers one credential once, and not at all if the database has
// refused it elsewhere since the login began; the password leaves the credential through
// [secrets.Release] alone; with SCRAM the login succeeds only if the database has proved
// that it knows the password too.
//
// The package picks no credential, keeps no session and knows no client.
package backend
