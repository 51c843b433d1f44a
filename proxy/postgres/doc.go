// Package postgres speaks the PostgreSQL frontend/backend protocol, versions 3.0
// to 3.2, on both sides of a login: to the client as a server that asks for no
// password, to the database as a client that has one.
//
// A session is a list of steps: encryption request → startup packet → dial, TLS
// and login at the database (again with another credential if the first is
// refused) → the server's own parameters and cancel key → raw relay.
//
// Invariants: the client hears AuthenticationOk only after the database said so;
// what the database says after that reaches the client as it came, except that
// the secret half of the cancel key is replaced by one that dies with the
// session; a password goes out in clear text only inside verified TLS.
//
// The package does not parse queries or results, and does not pool.
//
// The reference is the chapter "Frontend/Backend Protocol" of the PostgreSQL
// manual; section names in comments are its.
package postgres
