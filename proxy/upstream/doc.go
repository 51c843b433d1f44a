// Package upstream gets to a database: it dials, races the addresses of a name, starts
// TLS as the mode demands, and spares clients the wait for a database that is away.
//
// Invariant: a [Dialer] in mode verify-full or verify-ca hands out no TLS connection
// whose far end did not prove to be the database. Nothing falls back to a weaker mode.
//
// The package says nothing over the connections that it makes, and holds no
// credential: that is for the engines' backend packages.
package upstream
