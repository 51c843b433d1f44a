// Package topology knows the servers of one database, and which of them is the writer.
//
// Invariants: a server counts as what it said itself, after a login, that it is; what another
// server says of it only tells where to ask next. What a server may say is bounded, and a
// topology that lies, is empty or cannot be had costs nothing but the knowledge.
//
// The package knows no wire protocol and opens no connection: it asks through a [Session]
// that its caller has.
package topology
