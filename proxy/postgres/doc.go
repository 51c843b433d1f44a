// Package postgres speaks the PostgreSQL frontend/backend protocol, versions 3.0
// to 3.2, to clients: as a server that asks for no password. The other side of a login,
// to the database, is package backend; the messages are package wire.
//
// A session is a list of steps: encryption request → startup packet → dial, TLS
// and login at the database (again with another credential if the first is
// refused) → the server's own parameters and cancel key → raw relay.
//
// Invariants: the client hears AuthenticationOk only after the database said so;
// what the database says after that reaches the client as it came, except that
// the secret half of the cancel key is replaced by one that dies with the
// session.
//
// The package does not parse queries or results, and does not pool.
//
// The reference is the chapter "Frontend/Backend Protocol" of the PostgreSQL
// manual; section names in comments are its.
package postgres
