// Package backend logs in at a MySQL or MariaDB database, with or without a client:
// [Login], or in its two halves [Dial] and [PreLoginConn.Login] for who wants to see the
// database's greeting first.
//
// A login is a list of steps: dial → greeting → TLS → handshake response →
// authentication. What serves clients, credproxy's own logins, the check and whatever
// else needs a session comes through here.
//
// Invariants: a login offers one credential once, and not at all if the database has
// refused it elsewhere since the login began; the password leaves the credential through
// [secrets.Release] alone; a connection is either handed out, or closed.
//
// The package picks no credential, keeps no session and knows no client.
package backend
